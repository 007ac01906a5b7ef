"""Floating-point types of torch: no scales, and what is beyond the largest number becomes that, not infinity.

- fp16: IEEE half precision, 5 bits of exponent and 10 of mantissa; up to 65504, whole precision from 6.1e-5 on.
- bf16: bfloat16, float32's 8 bits of exponent and 7 of mantissa: its range, an eighth of fp16's precision.
- fp32: single precision, which changes nothing: as `qat-fp32` the equally long float control that QAT is told against.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from deepcompress.models.checkpoint import Encoded
from deepcompress.models.encodings import cast, cast_sparse
from deepcompress.models.quantized_weight import Format

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.models.quantized_weight import ClipRatio, Quantized

TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclasses.dataclass(frozen=True)
class FloatFormat(Format):
    """One of TYPES."""

    name: str
    bits: int
    smallest_normal: float
    largest: float

    def groups(self, weight: Float[Tensor, "outputs ..."]) -> int:
        return 0

    def quantize(self, weight: Float[Tensor, "outputs ..."], clip_ratio: ClipRatio = None) -> Quantized:
        return weight.clamp(-self.largest, self.largest).to(TYPES[self.name])

    def overflows(self, weight: Float[Tensor, "outputs ..."], quantized: Quantized) -> int:
        return int(weight.to(TYPES[self.name]).isinf().sum())

    def encodings(self, quantized: Quantized) -> list[Encoded]:
        assert isinstance(quantized, torch.Tensor)
        if self.name == "fp32":
            return []
        return [Encoded("cast", cast.encode(quantized)), Encoded("cast_sparse", cast_sparse.encode(quantized))]


def make(name: str) -> FloatFormat:
    """The format of a name in TYPES."""
    info = torch.finfo(TYPES[name])
    return FloatFormat(name, info.bits, info.smallest_normal, info.max)
