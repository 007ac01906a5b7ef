"""The objective of every student: cross-entropy with the labels and weighted losses against a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deepcompress import registry
from deepcompress.distillation.loss import DistillBatch, Loss, LossContext, Outputs, read
from deepcompress.distillation.settings import LOSSES
from deepcompress.models.taps import tap
from deepcompress.training.loop import Objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.data.batches import Batch
    from deepcompress.distillation.teacher_cache import Teacher


class DistillObjective(Objective):
    """cross_entropy * CE(student, labels) + sum of weight * loss, in 32-bit floats.

    A loss with exclusive epochs (two-stage hints) is minimised alone in them, and left out after. The count of
    steps is part of the state, so that an interrupted run knows its epoch.

    Args:
        losses: By name, each with its weight.
        teacher: Gives the outputs to learn from.
        cross_entropy: Weight of the labels.
        label_smoothing: Of the labels.
        steps_per_epoch: Batches that make an epoch.
    """

    def __init__(
        self,
        losses: Mapping[str, tuple[float, Loss]],
        teacher: Teacher,
        *,
        cross_entropy: float,
        label_smoothing: float,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self._trained = nn.ModuleDict({name: loss for name, (_, loss) in losses.items()})  # part of the state
        self.losses = losses
        self.find_unused_parameters = any(loss.exclusive_epochs > 0 for _, loss in losses.values())
        self.needs_hooks = any(loss.student_taps for _, loss in losses.values())
        self.teacher, self.cross_entropy, self.label_smoothing = teacher, cross_entropy, label_smoothing
        self.steps, self.steps_per_epoch = 0, steps_per_epoch

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        epoch = self.steps // self.steps_per_epoch + 1
        self.steps += 1
        active = self.active(epoch)
        taps = [wanted for _, loss in active for wanted in loss.student_taps]
        with tap(model, {wanted.layer for wanted in taps}) as layers:
            logits = batch.whole(model(batch.images))
        teacher = self.teacher.outputs(batch) if active else Outputs(None)
        with torch.autocast(logits.device.type, enabled=False):
            student = Outputs(logits.float(), read(layers, taps, batch))
            distill_batch = DistillBatch(student, teacher, batch.labels, batch.indices, epoch)
            terms = [weight * loss(distill_batch) for weight, loss in active]
            if all(loss.exclusive_epochs == 0 for _, loss in active):
                labels = batch.cross_entropy(logits.float(), self.label_smoothing)
                terms.append(self.cross_entropy * labels)
            return torch.stack(terms).sum()

    def active(self, epoch: int) -> list[tuple[float, Loss]]:
        """The losses that count in an epoch, counted from 1, with their weights."""
        exclusive = [(weight, loss) for weight, loss in self.losses.values() if epoch <= loss.exclusive_epochs]
        return exclusive or [(weight, loss) for weight, loss in self.losses.values() if not loss.exclusive_epochs]

    def get_extra_state(self) -> dict[str, int]:
        """Of a state dict: the steps done."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take up the count of a state dict."""
        self.steps = state["steps"]


def build_losses(weighted: Mapping[str, tuple[float, Any]], context: LossContext) -> dict[str, tuple[float, Loss]]:
    """The losses of a method, each with its weight.

    Args:
        weighted: Loss name -> (weight, options of that loss's file).
        context: What the losses may know.

    Raises:
        UserError: If a loss or a layer does not exist, or a pair of layers cannot be matched.
    """
    return {
        name: (weight, registry.find(LOSSES, name).build(options, context))
        for name, (weight, options) in weighted.items()
    }
