"""Integers of 2 to 8 bits times a float16 scale per output channel or per group of its inputs.

Symmetric: zero stays exactly zero, so what was pruned stays pruned. The grid runs from -2**(bits-1) to
2**(bits-1) - 1; params and tables call it int2 to int8.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from deepcompress.models.checkpoint import Encoded
from deepcompress.models.encodings import coded
from deepcompress.models.quantized_weight import Format, QuantizedWeight, group_count, rows, split

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.models.quantized_weight import ClipRatio, Quantized


@dataclasses.dataclass(frozen=True)
class IntN(Format):
    """A grid of 2**bits values, an odd one of them negative."""

    name: str  # int2 to int8
    bits: int  # per weight, 2 to 8
    # Weights per scale, at most; see models/quantized_weight.py for a row that this does not divide. None: one scale
    # per output channel.
    group_size: int | None = None
    smallest_normal = 0.0

    def groups(self, weight: Float[Tensor, "outputs ..."]) -> int:
        return group_count(weight[0].numel(), self.group_size)

    def quantize(self, weight: Float[Tensor, "outputs ..."], clip_ratio: ClipRatio = None) -> QuantizedWeight:
        return QuantizedWeight.quantize(weight, self.bits, self.group_size, clip_ratio)

    def overflows(self, weight: Float[Tensor, "outputs ..."], quantized: Quantized) -> int:
        assert isinstance(quantized, QuantizedWeight)
        scales = quantized.scales.float()[..., None]
        codes, edge = split(rows(weight), scales.shape[1]) / scales, 2.0 ** (self.bits - 1)
        return int(((codes < -edge - 0.5) | (codes > edge - 0.5)).sum())

    def encodings(self, quantized: Quantized) -> list[Encoded]:
        assert isinstance(quantized, QuantizedWeight)
        return [Encoded("coded", coded.encode(quantized))]


def make(bits: int, group_size: int | None = None) -> IntN:
    """The format of so many bits."""
    return IntN(f"int{bits}", bits, group_size)
