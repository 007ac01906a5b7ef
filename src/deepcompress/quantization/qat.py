"""Train with rounded weights: what the file will hold is what every forward pass sees.

Each weight is a parametrization (torch.nn.utils.parametrize) of a float32 master: rounded on the way in, its
gradient handed to the master as it is ("straight through"). The optimizer, the loop and the masters know
nothing of it. A scale follows its master from step to step: the one that clips nothing times the clip ratio that a
search found before training. Clipped weights get their gradient too, so that they can come back.

For fp16 and bf16 "quantization-aware" has no standard meaning, since nothing is learnt of a grid. Here it is a
cast of float32 masters in the forward pass; activations, biases, batch norm and the optimizer stay float32.
Pure fp16 or bf16 training is something else: with Adam at its default eps the former ends in NaN at once, and
the latter stands still at small learning rates.

Zeros of a pruned source stay zeros: their gradient is masked, so that no optimizer moves them (momentum starts
at zero, and decay of zero is zero).

Source: straight-through estimator: Bengio et al., 2013, https://arxiv.org/abs/1308.3432; fake quantization:
Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, section 3, who give clipped weights no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization.format import FLOAT_BITS, dequantize

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float
    from torch import Tensor

    from deepcompress.quantization.format import ClipRatio, Format

WEIGHT = "weight"


def attach_(model: nn.Module, formats: Mapping[str, Format], ratios: Mapping[str, ClipRatio]) -> None:
    """Let every layer see its weight rounded; what is zero now stays zero.

    Args:
        model: Its state dict changes: weights become `<layer>.parametrizations.weight.original`.
        formats: Of its layers; a float32 layer without zeros is left as it is.
        ratios: As a search found them.
    """
    for name, layer in prunable_layers(model).items():
        kept = layer.weight.detach() != 0
        if not (kept.all() and formats[name].bits == FLOAT_BITS):
            fake = FakeQuantize(formats[name], ratios[name], None if kept.all() else kept)
            parametrize.register_parametrization(layer, WEIGHT, fake, unsafe=True)


def detach_(model: nn.Module) -> None:
    """Undo `attach_`: every layer has its float32 master again, yet to be rounded."""
    for layer in prunable_layers(model).values():
        if parametrize.is_parametrized(layer, WEIGHT):
            parametrize.remove_parametrizations(layer, WEIGHT, leave_parametrized=False)


class FakeQuantize(nn.Module):
    """A weight as its format holds it, with the gradient of the weight as it is.

    Args:
        form: The format.
        clip_ratio: Of each group's scale; None: nothing is clipped.
        kept: False where a weight is and stays zero; None: all may move.
    """

    def __init__(self, form: Format, clip_ratio: ClipRatio, kept: Bool[Tensor, "outputs ..."] | None) -> None:
        super().__init__()
        self.form = form
        self.register_buffer("clip_ratio", clip_ratio)
        self.register_buffer("kept", kept)

    def forward(self, weight: Float[Tensor, "outputs ..."]) -> Float[Tensor, "outputs ..."]:
        return _StraightThrough.apply(weight, self)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, fake: Any) -> Tensor:
        ctx.kept = fake.kept
        return dequantize(fake.form.quantize(weight, fake.clip_ratio))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient if ctx.kept is None else gradient * ctx.kept, None
