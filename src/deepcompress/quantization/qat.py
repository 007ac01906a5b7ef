"""Train with rounded weights: what the file will hold is what every forward pass sees.

Each weight is a parametrization (torch.nn.utils.parametrize) of a float32 master: rounded on the way in, its
gradient handed to the master as it is ("straight through"). The optimizer, the loop and the masters know
nothing of it. What becomes of the scales, the steps of the grid:

- `fixed`: a scale follows its master: the one that clips nothing times the clip ratio that a search found before
  training. Clipped weights get their gradient too, so that they can come back.
- `learned`: each scale is a parameter, trained from where the search put it; see LearnedSteps.

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

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from deepcompress.models.quantized_weight import (
    FLOAT_BITS,
    QuantizedWeight,
    dequantize,
    round_,
    rows,
    split,
    stored_scales,
)
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization.ptq import clip_ratio

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from deepcompress.models.quantized_weight import ClipRatio, Format, Quantized

Steps = Literal["fixed", "learned"]
WEIGHT = "weight"


def attach_(
    model: nn.Module,
    formats: Mapping[str, Format],
    quantized: Mapping[str, Quantized],
    *,
    steps: Steps = "fixed",
    from_quantized: bool = False,
) -> None:
    """Let every layer see its weight rounded; what is zero now stays zero.

    Args:
        model: Its state dict changes: weights become `<layer>.parametrizations.weight.original`.
        formats: Of its layers; a float32 layer without zeros is left as it is.
        quantized: Its weights, whose scales are those to start from.
        steps: What becomes of the scales.
        from_quantized: Whether integers' masters start on the grid, where GPTQ's weights stay what they are. (Moved
            no further than they must, they lie on the edge between two integers, and end worse.)
    """
    for name, layer in prunable_layers(model).items():
        zero, weight, form = layer.weight.detach() == 0, quantized[name], formats[name]
        kept = ~zero if zero.any() else None
        if kept is None and form.bits == FLOAT_BITS:
            continue
        if from_quantized and isinstance(weight, QuantizedWeight):
            with torch.no_grad():
                layer.weight.copy_(weight.dequantize())
        fake: FixedSteps | LearnedSteps
        if steps == "learned" and isinstance(weight, QuantizedWeight):
            fake = LearnedSteps(weight, kept)
        else:
            fake = FixedSteps(form, clip_ratio(layer.weight.detach().cpu(), weight), kept)
        parametrize.register_parametrization(layer, WEIGHT, fake.to(layer.weight.device), unsafe=True)


@torch.no_grad()
def detach_(model: nn.Module) -> dict[str, Quantized]:
    """Undo `attach_` of a model on the CPU: every layer has its float32 master again.

    Returns:
        The weight of each layer as the last forward pass saw it; of a layer that was left alone, as it is.
    """
    quantized: dict[str, Quantized] = {}
    for name, layer in prunable_layers(model).items():
        if not parametrize.is_parametrized(layer, WEIGHT):
            quantized[name] = layer.weight.detach()
            continue
        parametrized: Any = layer.parametrizations
        (fake,), master = parametrized.weight, parametrized.weight.original
        quantized[name] = fake.quantized(master.detach().contiguous())
        parametrize.remove_parametrizations(layer, WEIGHT, leave_parametrized=False)
    return quantized


# A weight as its format holds it, with a gradient for the master. Both kinds give a master as a file would hold it by
# `quantized`, and the same in float32 by their forward pass.


class FixedSteps(nn.Module):
    """Scales in proportion to the largest weights of their groups, or numbers of the format's own type.

    Args:
        form: The format.
        ratio: Of each scale to the one that clips nothing; None: nothing is clipped.
        kept: False where a weight is and stays zero; None: all may move.
    """

    clip_ratio: ClipRatio

    def __init__(self, form: Format, ratio: ClipRatio, kept: Bool[Tensor, "outputs ..."] | None) -> None:
        super().__init__()
        self.form = form
        self.register_buffer("kept", kept)
        self.register_buffer("clip_ratio", ratio)

    def quantized(self, weight: Float[Tensor, "outputs ..."]) -> Quantized:
        return self.form.quantize(weight, self.clip_ratio)

    def forward(self, weight: Float[Tensor, "outputs ..."]) -> Float[Tensor, "outputs ..."]:
        return _StraightThrough.apply(weight, self)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, fake: FixedSteps) -> Tensor:
        ctx.kept = fake.kept
        return dequantize(fake.quantized(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return gradient if ctx.kept is None else gradient * ctx.kept, None


class LearnedSteps(nn.Module):
    """Scales that are trained: a step s of n weights w, rounded to r = round(w / s) within -Qn to Qp, gets the gradient

        1 / sqrt(n Qp) * sum of g * (r - w / s  where -Qn < w / s < Qp, else r)

    from the gradient g of the rounded weight; a weight gets g inside the grid and nothing outside. Pruned weights count
    in no sum and not in n.

    What is trained is each step's relative distance from its start: with SGD that is the paper's update to the last
    digit, and with Adam, whose updates are as long as the learning rate says, a step moves by that fraction of itself
    and not by more than its own length. It has one dimension, so that adamw does not decay it.

    Args:
        start: Scales to start from: the search's, where the paper takes 2 mean(|w|) / sqrt(Qp).
        kept: As in FixedSteps.

    Source: Esser et al., Learned Step Size Quantization, ICLR 2020, https://arxiv.org/abs/1902.08153, equations 1 to 5
    and section 2.2; they have one step per layer.
    """

    start: Float[Tensor, "outputs groups"]

    def __init__(self, start: QuantizedWeight, kept: Bool[Tensor, "outputs ..."] | None) -> None:
        super().__init__()
        self.bits = start.bits
        self.register_buffer("kept", kept)
        self.register_buffer("start", start.scales.float())
        counted = torch.ones(start.codes.shape) if kept is None else kept.float().cpu()
        count = split(rows(counted), start.scales.shape[1]).sum(2).clamp(min=1)
        self.register_buffer("gradient_scale", (count * (2 ** (self.bits - 1) - 1)).rsqrt())
        self.moved = nn.Parameter(torch.zeros(start.scales.numel()))

    def scales(self) -> Tensor:
        """As a file holds them, float16."""
        return stored_scales(self.start * (1 + self.moved.view_as(self.start)))

    def quantized(self, weight: Float[Tensor, "outputs ..."]) -> Quantized:
        scales = self.scales()
        codes = round_(split(rows(weight), scales.shape[1]) / scales.float()[..., None], self.bits)
        return QuantizedWeight(_whole(codes, weight).to(torch.int8), scales, self.bits)

    def forward(self, weight: Float[Tensor, "outputs ..."]) -> Float[Tensor, "outputs ..."]:
        return _LearnedSteps.apply(weight, self.moved, self)


class _LearnedSteps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, moved: Tensor, fake: LearnedSteps) -> Tensor:
        scales = fake.scales().float()[..., None]
        scaled = split(rows(weight), fake.start.shape[1]) / scales
        ctx.fake = fake
        ctx.save_for_backward(scaled)
        return _whole(round_(scaled.clone(), fake.bits) * scales, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,), (scaled,), fake = gradients, ctx.saved_tensors, ctx.fake
        if fake.kept is not None:
            gradient = gradient * fake.kept
        grouped, edge = split(rows(gradient), fake.start.shape[1]), 2.0 ** (fake.bits - 1)
        inside = (scaled > -edge) & (scaled < edge - 1)
        rounded = round_(scaled.clone(), fake.bits)
        of_steps = (grouped * torch.where(inside, rounded - scaled, rounded)).sum(2) * fake.gradient_scale
        return _whole(grouped * inside, gradient), (of_steps / fake.start).flatten(), None


def _whole(grouped: Float[Tensor, "outputs groups size"], like: Tensor) -> Tensor:
    """The inverse of `split`, in the shape of a weight."""
    return grouped.flatten(1)[:, : like[0].numel()].reshape(like.shape)
