"""Logit matching against the teacher's softened answer mixed with an even one.

Three things are called label smoothing in distillation: smoothed labels without a teacher (the control
`label_smoothing`), a teacher trained on smoothed labels, and this, which the source report calls smoothed
teacher logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from pydantic import Field

from deepcompress.distillation.loss import DistillBatch, Loss, LossOptions

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ZERO_FOR_EQUAL_NETWORKS = False  # zero where the student answers with the mixture itself


class Options(LossOptions):
    """temperature: softens both answers. smoothing: share of the target that is spread over all classes."""

    temperature: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    smoothing: float = Field(default=0.1, ge=0, lt=1, allow_inf_nan=False)


class SmoothedLogits(Loss):
    """T^2 KL(q || student at T) [nats] with q = (1 - e) softmax(teacher / T) + e / classes.

    Source: the mixture is that of Szegedy et al., CVPR 2016, https://arxiv.org/abs/1512.00567, section 7, with
    the teacher in the place of the label; Hinton et al., 2015, https://arxiv.org/abs/1503.02531 for the rest.
    The source report, section 2.3, names neither e nor T; no authors' code to differ from.
    """

    def forward(self, batch: DistillBatch) -> Float[Tensor, ""]:
        teacher = (batch.teacher.require_logits() / self.options.temperature).softmax(1)
        student = (batch.student.require_logits() / self.options.temperature).log_softmax(1)
        target = (1 - self.options.smoothing) * teacher + self.options.smoothing / teacher.shape[1]
        return self.options.temperature**2 * F.kl_div(student, target, reduction="batchmean")


build = SmoothedLogits
