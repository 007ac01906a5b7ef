"""Decoupled distillation: how sure the teacher is of the right class, and what it thinks of the others, apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field

from deepcompress.distillation.loss import DistillBatch, Loss, LossOptions

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

ZERO_FOR_EQUAL_NETWORKS = True


class Options(LossOptions):
    """alpha, beta: weights of the target's and the other classes' part. warmup_epochs: see `DKD`.

    The authors take alpha 1, beta 8 (6 for VGG-13 to VGG-8), T 4 and 20 of 240 epochs; beta was tuned per pair.
    """

    temperature: float = Field(default=4.0, gt=0, allow_inf_nan=False)
    alpha: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    beta: float = Field(default=6.0, ge=0, allow_inf_nan=False)
    warmup_epochs: int = Field(default=20, ge=0)


class DKD(Loss):
    """min(epoch / warm-up, 1) T^2 (alpha TCKD + beta NCKD) at temperature T [nats].

    With the right class t, KL(teacher || student) = TCKD + (1 - p_t) NCKD, p_t being the teacher's.

    Source: Zhao et al., CVPR 2022, https://arxiv.org/abs/2203.08679, equations 5 to 7; code: megvii-research/
    mdistiller, distillers/DKD.py. That masks the target with -1000 and takes the logarithm of a sum of
    probabilities, which is -infinity for a sure network; here everything stays in logarithms.
    """

    def forward(self, batch: DistillBatch) -> Float[Tensor, ""]:
        options, heat = self.options, self.options.temperature
        teacher, student = (outputs.require_logits() / heat for outputs in (batch.teacher, batch.student))
        target, others = parts(teacher, student, batch.labels)
        warmup = min(batch.epoch / max(options.warmup_epochs, 1), 1.0)
        return warmup * heat**2 * (options.alpha * target + options.beta * others).mean()


def parts(
    teacher: Float[Tensor, "batch classes"], student: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """TCKD and NCKD of each image [nats] from logits that were divided by the temperature."""
    right = labels[:, None] == torch.arange(student.shape[1], device=labels.device)
    taught, learnt = _two_way(teacher, right), _two_way(student, right)
    target = (taught.exp() * (taught - learnt)).sum(1)
    taught, learnt = (_others(logits, right).log_softmax(1) for logits in (teacher, student))
    return target, (taught.exp() * (taught - learnt).masked_fill(right, 0)).sum(1)


def _two_way(logits: Float[Tensor, "batch classes"], right: Bool[Tensor, "batch classes"]) -> Float[Tensor, "batch 2"]:
    """Logarithms of the probabilities of the right class and of all others together."""
    own, others = (logits * right).sum(1, keepdim=True), _others(logits, right).logsumexp(1, keepdim=True)
    return torch.cat([own, others], 1).log_softmax(1)


def _others(
    logits: Float[Tensor, "batch classes"], right: Bool[Tensor, "batch classes"]
) -> Float[Tensor, "batch classes"]:
    """The right class made impossible. To pick the others out instead makes a GPU wait, to learn how many they are."""
    return logits.masked_fill(right, -torch.inf)


build = DKD
