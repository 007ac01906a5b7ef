"""Logit matching: the student answers with the teacher's softened probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from deepcompress.distillation.loss import DistillBatch, Loss, LossOptions
from deepcompress.measure.accuracy import kl_divergence

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ZERO_FOR_EQUAL_NETWORKS = True


class Options(LossOptions):
    """temperature: softens both answers; 3 in the source report, 4 in RepDistiller."""

    temperature: float = Field(default=3.0, gt=0, allow_inf_nan=False)


class Logit(Loss):
    """T^2 KL(teacher || student) at temperature T [nats]; the T^2 keeps the gradient's size when T changes.

    Summed over classes and averaged over images (`batchmean`), log-probabilities of the student first: the
    mean over classes too would be 100 times too small on 100 classes, and probabilities in their place no KL.

    Source: Hinton et al., 2015, https://arxiv.org/abs/1503.02531, section 2. RepDistiller's KD.py is the same.
    The source report, section 2.4, gives the gradient as (z - v) / (N T^2), which is that without the T^2.
    """

    def forward(self, batch: DistillBatch) -> Float[Tensor, ""]:
        teacher, student = batch.teacher.require_logits(), batch.student.require_logits()
        return self.options.temperature**2 * kl_divergence(teacher, student, self.options.temperature)


build = Logit
