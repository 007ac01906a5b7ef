"""What a number format is to everything else here: how a weight is quantized, and how the quantized one is stored."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

from deepcompress.models.checkpoint import Encoded
from deepcompress.models.encodings import cast, cast_sparse
from deepcompress.models.quantized_weight import QuantizedWeight

if TYPE_CHECKING:
    from typing import TypeAlias

    from jaxtyping import Float
    from torch import Tensor

    ClipRatio: TypeAlias = Float[Tensor, "outputs groups"] | None
    Quantized: TypeAlias = QuantizedWeight | Float[Tensor, "outputs ..."]

FLOAT_BITS = 32  # of a weight that is not quantized
NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


class Format(ABC):
    """A small frozen value; a weight here is float32, (outputs, inputs) or (outputs, channels, height, width)."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As params and tables write it: fp16, int4."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """Of one stored weight, without scales."""

    @property
    @abstractmethod
    def smallest_normal(self) -> float:
        """The magnitude below which a floating-point number loses digits; 0 where there is none."""

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


@dataclasses.dataclass(frozen=True)
class FloatFormat(Format):
    """A floating-point type of torch, without scales; what is beyond its largest number becomes that, not infinity."""

    dtype: torch.dtype

    @property
    def name(self) -> str:
        return NAMES[self.dtype]

    @property
    def bits(self) -> int:
        return torch.finfo(self.dtype).bits

    @property
    def smallest_normal(self) -> float:
        return torch.finfo(self.dtype).smallest_normal

    def groups(self, weight: Float[Tensor, "outputs ..."]) -> int:
        return 0

    def quantize(self, weight: Float[Tensor, "outputs ..."], clip_ratio: ClipRatio = None) -> Quantized:
        largest = torch.finfo(self.dtype).max
        return weight.clamp(-largest, largest).to(self.dtype)

    def overflows(self, weight: Float[Tensor, "outputs ..."], quantized: Quantized) -> int:
        return int(weight.to(self.dtype).isinf().sum())

    def encodings(self, quantized: Quantized) -> list[Encoded]:
        assert isinstance(quantized, torch.Tensor)
        if self.dtype == torch.float32:
            return []
        return [Encoded("cast", cast.encode(quantized)), Encoded("cast_sparse", cast_sparse.encode(quantized))]
