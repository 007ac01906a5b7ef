"""The vectors that a layer multiplies its weights with: which ones are drawn, and how they are cut out of its input."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Seen:
    """Some input vectors of one layer, in the order of its weights, on the CPU.

    Attributes:
        true: What the layer gets in the model as it is.
        rounded: What it gets at the same places when the layers below are rounded.
    """

    true: Float[Tensor, "inputs size"]
    rounded: Float[Tensor, "inputs size"]


def places(
    layer: nn.Conv2d | nn.Linear, value: Float[Tensor, "batch ..."], wanted: int, generator: torch.Generator
) -> Tensor:
    """Draw some of the vectors that a layer multiplies its weights with, without replacement: their numbers."""
    outputs = 1
    if isinstance(layer, nn.Conv2d):
        outputs = _patches(layer, value)[0, 0, ..., 0, 0].numel()
    return torch.randperm(len(value) * outputs, generator=generator)[:wanted]


def vectors(
    layer: nn.Conv2d | nn.Linear, value: Float[Tensor, "batch ..."], drawn: Tensor
) -> Float[Tensor, "drawn size"]:
    """The vectors at some places of a layer's input, in the order of its weights.

    Args:
        layer: A convolution without groups or dilation, or a linear layer.
        value: Its input.
        drawn: Numbers of `places`.
    """
    drawn = drawn.to(value.device)
    if isinstance(layer, nn.Linear):
        return value[drawn]
    patches = _patches(layer, value)
    rows, columns = patches.shape[2:4]
    return patches[drawn // (rows * columns), :, drawn // columns % rows, drawn % columns].flatten(1)


def _patches(layer: nn.Conv2d, value: Tensor) -> Float[Tensor, "batch channels rows columns high wide"]:
    (down, right), (high, wide) = cast("tuple[int, int]", layer.padding), layer.kernel_size
    padded = F.pad(value, (right, right, down, down))
    return padded.unfold(2, high, layer.stride[0]).unfold(3, wide, layer.stride[1])
