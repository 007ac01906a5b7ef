"""Logit matching after each image's logits were brought to mean 0 and deviation 1: shape counts, not size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from deepcompress.distillation.loss import DistillBatch, Loss, LossOptions
from deepcompress.measure.accuracy import kl_divergence

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ZERO_FOR_EQUAL_NETWORKS = True
SMALLEST_DEVIATION = 1e-7  # as the authors'; an answer without any preference has none


class Options(LossOptions):
    """weight: the authors take 9 on CIFAR-100. temperature: of the standardised logits; theirs is 2."""

    weight: float = Field(default=9.0, gt=0, allow_inf_nan=False)
    temperature: float = Field(default=2.0, gt=0, allow_inf_nan=False)


class LogitStd(Loss):
    """T^2 KL(teacher || student) at temperature T of standardised logits [nats].

    A small student need not copy how far apart a large teacher's logits are, only their order and proportion.

    Source: Sun et al., CVPR 2024, https://arxiv.org/abs/2403.01427, algorithm 1; code: sunshangquan/logit-
    standardization-KD, mdistiller/distillers/KD.py, of which this is the same.
    """

    def forward(self, batch: DistillBatch) -> Float[Tensor, ""]:
        teacher, student = standardised(batch.teacher.require_logits()), standardised(batch.student.require_logits())
        return self.options.temperature**2 * kl_divergence(teacher, student, self.options.temperature)


def standardised(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    """Each row less its mean, in units of its standard deviation (of a sample: divided by classes - 1)."""
    centred = logits - logits.mean(1, keepdim=True)
    return centred / (logits.std(1, keepdim=True) + SMALLEST_DEVIATION)


build = LogitStd
