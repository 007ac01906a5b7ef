"""Hints: a layer of the student, through a regressor, gives what a layer of the teacher gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from deepcompress.distillation.loss import DistillBatch, Loss, LossContext, LossOptions, Tap, shape
from deepcompress.errors import UserError
from deepcompress.models.spec import layer_name

if TYPE_CHECKING:
    from jaxtyping import Float

ZERO_FOR_EQUAL_NETWORKS = False  # zero where the regressor is the identity


class Options(LossOptions):
    """guided_layer of the student, hint_layer of the teacher: names or roles, see models/spec.py.

    stages: 1 adds the loss to the others in every epoch; 2 minimises it alone for first_stage_epochs of the
    same budget, and the others after. weight: 0.5 in the source report, 100 in RepDistiller.
    """

    weight: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    guided_layer: str = "block4.relu1"
    hint_layer: str = "block4.relu1"
    stages: Literal[1, 2] = 1
    first_stage_epochs: int = Field(default=1, ge=1)


class Hint(Loss):
    """Mean squared difference over channels and pixels of regressor(guided) and hint, in the features' unit^2.

    The regressor is a 1x1 convolution, for maps of equal sides (a UserError where they are not); it trains along and is
    no part of the student.

    Source: Romero et al., ICLR 2015, https://arxiv.org/abs/1412.6550, equation 3: they sum half the squares and
    train in two stages. RepDistiller's FitNet.py takes the mean and one stage, as `stages: 1` does, but its
    regressor adds batch norm and ReLU. The source report's layers, 11 of VGG-11 and 17 of VGG-16 without batch
    norm, are `block4.conv1` in both.
    """

    reads_logits = False

    def __init__(self, options: Options, context: LossContext) -> None:
        super().__init__(options, context)
        guided = layer_name(context.student.spec, options.guided_layer)
        hint = layer_name(context.teacher.spec, options.hint_layer)
        ours, theirs = shape(context.student, guided), shape(context.teacher, hint)
        if ours[1:] != theirs[1:]:
            student, teacher = (" x ".join(map(str, sizes[1:])) for sizes in (ours, theirs))
            raise UserError(
                f"params.yaml: distill.methods.hint: {options.guided_layer} of the student gives maps of {student}, "
                f"{options.hint_layer} of the teacher {teacher}: they cannot be matched"
            )
        self.student_taps, self.teacher_taps = (Tap(guided),), (Tap(hint),)
        self.exclusive_epochs = options.first_stage_epochs if options.stages == 2 else 0
        self.regressor = nn.Conv2d(ours[0], theirs[0], kernel_size=1)

    def forward(self, batch: DistillBatch) -> Float[Tensor, ""]:
        guided, hint = self.student_taps[0], self.teacher_taps[0]
        return F.mse_loss(self.regressor(batch.student.features[guided]), batch.teacher.features[hint])


build = Hint
