"""Similarity preserving: two images that are alike to the teacher are alike to the student."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from pydantic import Field

from deepcompress.distillation.loss import DistillBatch, Loss, LossContext, LossOptions, Tap
from deepcompress.models.spec import layer_name

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ZERO_FOR_EQUAL_NETWORKS = True


class Options(LossOptions):
    """weight: 3000 in the authors' experiments. layer: read in both networks; see models/spec.py."""

    weight: float = Field(default=3000.0, gt=0, allow_inf_nan=False)
    layer: str = "block5"


class SP(Loss):
    """Mean over pairs of images of the squared difference of their similarities, rows brought to length 1.

    It compares images within a batch, so it needs neither equal widths nor equal sides.

    Source: Tung and Mori, ICCV 2019, https://arxiv.org/abs/1907.09682, equations 1 to 4. RepDistiller's
    Similarity.py is the same.
    """

    reads_logits = False

    def __init__(self, options: Options, context: LossContext) -> None:
        super().__init__(options, context)
        self.student_taps = (Tap(layer_name(context.student.spec, options.layer)),)
        self.teacher_taps = (Tap(layer_name(context.teacher.spec, options.layer)),)

    def forward(self, batch: DistillBatch) -> Float[Tensor, ""]:
        student = batch.student.features[self.student_taps[0]]
        return F.mse_loss(similarities(student), similarities(batch.teacher.features[self.teacher_taps[0]]))


def similarities(maps: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch batch"]:
    """Inner products of all pairs of images, each row of length 1."""
    flat = maps.flatten(1)
    return F.normalize(flat @ flat.T)


build = SP
