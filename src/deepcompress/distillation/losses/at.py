"""Attention transfer: the student looks where the teacher looks, at the ends of some blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from pydantic import Field

from deepcompress.distillation.loss import DistillBatch, Loss, LossContext, LossOptions, Tap, shape
from deepcompress.errors import UserError
from deepcompress.models.spec import layer_name

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ZERO_FOR_EQUAL_NETWORKS = True


class Options(LossOptions):
    """weight: 1000 in RepDistiller. layers: read in both networks; names or roles, see models/spec.py."""

    weight: float = Field(default=1000.0, gt=0, allow_inf_nan=False)
    layers: tuple[str, ...] = Field(default=("block2", "block3", "block4"), min_length=1)


class AT(Loss):
    """Sum over layers of the mean squared difference of attention maps, each flattened and of length 1.

    An attention map is the mean of the squared channels: how much a place matters, whatever for. Networks of
    any widths can be compared without a regressor; a UserError where a layer's maps differ in side.

    Source: Zagoruyko and Komodakis, ICLR 2017, https://arxiv.org/abs/1612.03928, equation 2, who take the norm of
    the difference; RepDistiller's AT.py takes the mean of its square, as this does.
    """

    reads_logits = False

    def __init__(self, options: Options, context: LossContext) -> None:
        super().__init__(options, context)
        networks = (context.student, context.teacher)
        student, teacher = ([layer_name(net.spec, name) for name in options.layers] for net in networks)
        for name, layers in zip(options.layers, zip(student, teacher, strict=True), strict=True):
            sides = [shape(network, layer)[1:] for network, layer in zip(networks, layers, strict=True)]
            if sides[0] != sides[1]:
                raise UserError(
                    f"params.yaml: distill.methods.at.layers: {name} gives maps of {sides[0]} and {sides[1]} px"
                )
        self.student_taps, self.teacher_taps = tuple(map(Tap, student)), tuple(map(Tap, teacher))

    def forward(self, batch: DistillBatch) -> Float[Tensor, ""]:
        student = [attention(batch.student.features[tap]) for tap in self.student_taps]
        teacher = [attention(batch.teacher.features[tap]) for tap in self.teacher_taps]
        return torch.stack([F.mse_loss(*maps) for maps in zip(student, teacher, strict=True)]).sum()


def attention(maps: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch pixels"]:
    """The mean of the squared channels, of length 1 for each image."""
    return F.normalize(maps.square().mean(1).flatten(1))


build = AT
