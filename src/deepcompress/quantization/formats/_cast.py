"""Shared by the formats that are shorter floating-point types: a cast, no scales."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from deepcompress.models.checkpoint import Encoded
from deepcompress.models.encodings import cast, cast_sparse
from deepcompress.quantization.format import Format

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.quantization.format import Scales, Shrink


@dataclasses.dataclass(frozen=True)
class Cast(Format):
    """Float32 cast to a 16-bit type; what is beyond its largest number becomes that, not infinity."""

    dtype: torch.dtype

    @property
    def name(self) -> str:
        return {torch.float16: "fp16", torch.bfloat16: "bf16"}[self.dtype]

    @property
    def bits(self) -> int:
        return 16

    @property
    def smallest_normal(self) -> float:
        return torch.finfo(self.dtype).smallest_normal

    def groups(self, weight: Float[Tensor, "outputs ..."]) -> int:
        return 0

    def scales(self, weight: Float[Tensor, "outputs ..."], shrink: Shrink = None) -> Scales:
        return None

    def rounded(self, weight: Float[Tensor, "outputs ..."], scales: Scales = None) -> Float[Tensor, "outputs ..."]:
        largest = torch.finfo(self.dtype).max
        return weight.clamp(-largest, largest).to(self.dtype).float()

    def overflows(self, weight: Float[Tensor, "outputs ..."], scales: Scales = None) -> int:
        return int(weight.to(self.dtype).isinf().sum())

    def encodings(self, weight: Float[Tensor, "outputs ..."], scales: Scales = None) -> list[Encoded]:
        ways = {"cast": cast.encode, "cast_sparse": cast_sparse.encode}
        return [Encoded(name, encode(weight, self.dtype)) for name, encode in ways.items()]
