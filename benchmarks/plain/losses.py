"""The losses of distillation as their authors' code has them: RepDistiller's KD and CRD, mdistiller's DKD, and MSE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from deepcompress.distillation.losses.crd import Negatives

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-7


def logit(student: Tensor, teacher: Tensor, options: dict[str, Any]) -> Tensor:
    """RepDistiller's KD.py."""
    heat = options["temperature"]
    return heat**2 * F.kl_div((student / heat).log_softmax(1), (teacher / heat).softmax(1), reduction="batchmean")


def smoothed_logits(student: Tensor, teacher: Tensor, options: dict[str, Any]) -> Tensor:
    """The same with a share of the teacher's answer spread over all classes."""
    heat, share = options["temperature"], options["smoothing"]
    target = (1 - share) * (teacher / heat).softmax(1) + share / teacher.shape[1]
    return heat**2 * F.kl_div((student / heat).log_softmax(1), target, reduction="batchmean")


def dkd(student: Tensor, teacher: Tensor, labels: Tensor, epoch: int, options: dict[str, Any]) -> Tensor:
    """mdistiller's DKD.py."""
    heat = options["temperature"]
    own = F.one_hot(labels, student.shape[1]).bool()
    ours, theirs = (_own_and_rest((logits / heat).softmax(1), own) for logits in (student, teacher))
    target = F.kl_div(ours.log(), theirs, reduction="batchmean")
    ours, theirs = (logits / heat - 1000.0 * own for logits in (student, teacher))
    others = F.kl_div(ours.log_softmax(1), theirs.softmax(1), reduction="batchmean")
    warmth = min(epoch / max(options["warmup_epochs"], 1), 1.0)
    return warmth * heat**2 * (options["alpha"] * target + options["beta"] * others)


class CRD(nn.Module):
    """RepDistiller's crd/criterion.py and memory.py; images of other classes are drawn as the pipeline draws them.

    Args:
        channels: Of student's and teacher's pooled features.
        labels: Class of every training image.
        options: Of `distill.methods.crd`.
    """

    def __init__(self, channels: tuple[int, int], labels: Tensor, options: dict[str, Any]) -> None:
        super().__init__()
        self.embed_student, self.embed_teacher = (nn.Linear(inputs, options["width"]) for inputs in channels)
        for name in ("memory_student", "memory_teacher"):
            self.register_buffer(name, torch.zeros(len(labels), options["width"]))
        self.negatives, self.options = Negatives(labels, options["negatives"]), options
        self.constants: dict[str, Tensor] = {}

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """The sum of both sides' losses; moves the memories."""
        student, teacher = F.normalize(self.embed_student(student)), F.normalize(self.embed_teacher(teacher))
        drawn = torch.cat([rows[:, None], self.negatives(labels, rows)], 1)
        loss = self._side(student, "memory_teacher", drawn) + self._side(teacher, "memory_student", drawn)
        with torch.no_grad():
            for name, embedded in (("memory_student", student), ("memory_teacher", teacher)):
                memory, momentum = getattr(self, name), self.options["momentum"]
                moved = momentum * memory.index_select(0, rows) + (1 - momentum) * embedded
                memory.index_copy_(0, rows, F.normalize(moved))
        return loss

    def _side(self, embedded: Tensor, name: str, drawn: Tensor) -> Tensor:
        memory = getattr(self, name)
        held = memory.index_select(0, drawn.view(-1)).view(*drawn.shape, -1)
        scores = (torch.bmm(held, embedded[..., None])[..., 0] / self.options["temperature"]).exp()
        if name not in self.constants:
            self.constants[name] = scores.mean().detach() * len(memory)
        likely, noise = scores / self.constants[name], self.options["negatives"] / len(memory)
        positive = likely[:, 0] / (likely[:, 0] + noise + EPSILON)
        negative = noise / (likely[:, 1:] + noise + EPSILON)
        return -(positive.log().sum() + negative.log().sum()) / len(embedded)


def _own_and_rest(shares: Tensor, own: Tensor) -> Tensor:
    return torch.stack([(shares * own).sum(1), (shares * ~own).sum(1)], 1)
