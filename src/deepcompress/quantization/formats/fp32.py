"""Single precision, which changes nothing: as `qat-fp32` the equally long float run that QAT is told against."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from deepcompress.quantization.format import Format

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.models.checkpoint import Encoded
    from deepcompress.quantization.format import Scales, Shrink


@dataclasses.dataclass(frozen=True)
class Float32(Format):
    """The type that weights are trained in."""

    @property
    def name(self) -> str:
        return "fp32"

    @property
    def bits(self) -> int:
        return 32

    @property
    def smallest_normal(self) -> float:
        return torch.finfo(torch.float32).smallest_normal

    def groups(self, weight: Float[Tensor, "outputs ..."]) -> int:
        return 0

    def scales(self, weight: Float[Tensor, "outputs ..."], shrink: Shrink = None) -> Scales:
        return None

    def rounded(self, weight: Float[Tensor, "outputs ..."], scales: Scales = None) -> Float[Tensor, "outputs ..."]:
        return weight

    def overflows(self, weight: Float[Tensor, "outputs ..."], scales: Scales = None) -> int:
        return 0

    def encodings(self, weight: Float[Tensor, "outputs ..."], scales: Scales = None) -> list[Encoded]:
        return []


def make() -> Float32:
    """The format."""
    return Float32()
