"""A quantized weight: integers, and a scale for each group of neighbours in a row; a row is what feeds one output.

A row that the wished group size does not divide gets as many groups as it needs, all of one length but the last, which
is shorter: 27 inputs in groups of at most 16 are 14 and 13, not 16 and 11. So no group is a stump, and the number of
groups alone tells where they lie.

And what a number format is to everything else: how it quantizes a weight, and how the quantized one is stored.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeAlias

import torch
import torch.nn.functional as F

from deepcompress.models.records import Weight

if TYPE_CHECKING:
    from jaxtyping import Float, Float16, Int8, Shaped
    from torch import Tensor

    from deepcompress.models.checkpoint import Encoded

    ClipRatio: TypeAlias = Float[Tensor, "outputs groups"] | None
    Quantized: TypeAlias = "QuantizedWeight | Float[Tensor, 'outputs ...']"

SMALLEST_SCALE, LARGEST_SCALE = 2.0**-24, torch.finfo(torch.float16).max  # the smallest positive float16
FLOAT_BITS = 32  # of a weight that is not quantized
WEIGHTS_AT_ONCE = 2**17  # so that what is rounded stays in the processor's cache


@dataclasses.dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A weight as rounding makes it, files store it and integer kernels multiply it."""

    codes: Int8[Tensor, "outputs ..."]  # integers of -2**(bits-1) to 2**(bits-1) - 1, in the shape of the weight
    scales: Float16[Tensor, "outputs groups"]  # of each group, positive; float16 as in files
    bits: int  # of one integer, 2 to 8

    @classmethod
    def quantize(
        cls,
        weight: Float[Tensor, "outputs ..."],
        bits: int,
        group_size: int | None = None,
        clip_ratio: Float[Tensor, "outputs groups"] | None = None,
    ) -> QuantizedWeight:
        """Each weight's nearest multiple of its group's scale; ties go to even multiples, zero stays zero.

        Bit for bit torchao's `quantize_affine`, which multiplies by 1 / scale, too, but copies weights six times.

        Args:
            weight: In any memory layout.
            bits: 2 to 8.
            group_size: Weights per scale, at most; None: one scale per output.
            clip_ratio: Of each scale to the finest that clips nothing; None: nothing is clipped.
        """
        whole = rows(weight)
        scales = unclipped_scales(split(whole, group_count(whole.shape[1], group_size)), bits)
        scales = stored_scales(scales if clip_ratio is None else scales * clip_ratio)
        codes = torch.empty(whole.shape, dtype=torch.int8, device=weight.device)
        at_once = max(1, WEIGHTS_AT_ONCE // whole.shape[1])
        for part, steps, out in zip(*(tensor.split(at_once) for tensor in (whole, scales.float(), codes)), strict=True):
            scaled = part.clone()
            scale_(scaled, 1.0 / steps)
            out.copy_(round_(scaled, bits))
        return cls(codes.view(weight.shape), scales, bits)

    @property
    def group_size(self) -> int:
        """Weights that share a scale; fewer in the last group of a row that they do not divide."""
        return group_size(self.codes[0].numel(), self.scales.shape[1])

    def dequantize(self) -> Float[Tensor, "outputs ..."]:
        """Each integer times its scale: exact, as 8 bits times a float16 have 19 significant bits at most."""
        weight = self.codes.to(torch.float32)
        scale_(rows(weight), self.scales.float())
        return weight

    def as_arrays(self) -> Weight:
        """As NumPy holds it, a row per output."""
        return Weight(rows(self.codes).contiguous().numpy(), self.scales.numpy(), self.bits)


def round_(scaled: Float[Tensor, "*shape"], bits: int) -> Float[Tensor, "*shape"]:
    """Weights over their scales to the nearest integers of so many bits, in place."""
    return scaled.round_().clamp_(-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)


def unclipped_scales(grouped: Float[Tensor, "outputs groups size"], bits: int) -> Float[Tensor, "outputs groups"]:
    """The finest scale per group that clips nothing: max(-smallest / 2**(bits-1), largest / (2**(bits-1) - 1)).

    Dividing by 2**(bits-1) - 1/2, as torchao's default (`SYMMETRIC`) does, clips the largest positive weight: a bias
    that adds up behind ReLU and grows as groups shrink. Positive also where all weights are zero.

    Source: torchao 0.18, `SYMMETRIC_NO_CLIPPING_ERR`, https://github.com/pytorch/ao, quantization/quant_primitives.py.
    """
    highest = 2 ** (bits - 1) - 1
    return torch.maximum(grouped.amin(2) / (-highest - 1), grouped.amax(2) / highest).clamp(min=SMALLEST_SCALE)


def stored_scales(scales: Float[Tensor, "outputs groups"]) -> Float16[Tensor, "outputs groups"]:
    """Scales as files hold them: rounding uses these, so that what it gives and what is read agree to the last bit."""
    return scales.clamp(SMALLEST_SCALE, LARGEST_SCALE).half()


def group_count(inputs: int, group_size: int | None) -> int:
    """Groups in a row of `inputs` weights, each of at most `group_size`; None: one group."""
    return 1 if group_size is None else -(-inputs // group_size)


def group_size(inputs: int, groups: int) -> int:
    """Weights in each group of a row but the last."""
    return -(-inputs // groups)


def rows(weight: Shaped[Tensor, "outputs ..."]) -> Shaped[Tensor, "outputs inputs"]:
    """One row per output; a convolution's runs over input channel, then height, then width of the kernel.

    A ValueError if the weight has no inputs.
    """
    if weight.dim() < 2 or weight.numel() == 0:
        raise ValueError(f"a weight has outputs and inputs, got the shape {tuple(weight.shape)}")
    return weight.reshape(len(weight), -1)


def split(rows: Shaped[Tensor, "outputs inputs"], groups: int) -> Shaped[Tensor, "outputs groups size"]:
    """The groups of each row, the last one filled up with zeros; a view where nothing is to be filled."""
    length = group_size(rows.shape[1], groups)
    return F.pad(rows, (0, groups * length - rows.shape[1])).view(len(rows), groups, length)


def scale_(rows: Float[Tensor, "outputs inputs"], scales: Float[Tensor, "outputs groups"]) -> None:
    """Multiply each group by its scale, in place and without a copy."""
    groups = scales.shape[1]
    length = group_size(rows.shape[1], groups)
    body = (groups - 1) * length
    if groups > 1:
        rows[:, :body].unflatten(1, (groups - 1, length)).mul_(scales[:, :-1, None])
    rows[:, body:].mul_(scales[:, -1:])


class Format(ABC):
    """A small frozen value; a weight here is float32, (outputs, inputs) or (outputs, channels, height, width)."""

    name: str  # as params and tables write it: fp16, int4
    bits: int  # of one stored weight, without scales
    smallest_normal: float  # the magnitude below which a floating-point number loses digits; 0 where there is none

    @abstractmethod
    def groups(self, weight: Float[Tensor, "outputs ..."]) -> int:
        """Scales per output; 0 for a format without scales."""

    @abstractmethod
    def quantize(self, weight: Float[Tensor, "outputs ..."], clip_ratio: ClipRatio = None) -> Quantized:
        """The nearest weight that the format holds: integers and scales, or numbers of the format's own type.

        Args:
            weight: What is too large becomes the largest value.
            clip_ratio: Of each group's scale to the finest that clips nothing; None: nothing is clipped.
        """

    @abstractmethod
    def overflows(self, weight: Float[Tensor, "outputs ..."], quantized: Quantized) -> int:
        """How many weights lie beyond the largest value of the grid, more than rounding accounts for."""

    @abstractmethod
    def encodings(self, quantized: Quantized) -> list[Encoded]:
        """All ways to store what `quantize` gave, without loss; none: the weight is stored as it is."""


def dequantize(quantized: Quantized) -> Float[Tensor, "outputs ..."]:
    """A quantized weight in float32, to compute with; exact."""
    return quantized.dequantize() if isinstance(quantized, QuantizedWeight) else quantized.float()
