"""What a number format is to everything else here: how a weight is quantized, and how the quantized one is stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from deepcompress.models.quantized_weight import QuantizedWeight

if TYPE_CHECKING:
    from typing import TypeAlias

    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.models.checkpoint import Encoded

    ClipRatio: TypeAlias = Float[Tensor, "outputs groups"] | None
    Quantized: TypeAlias = QuantizedWeight | Float[Tensor, "outputs ..."]

FLOAT_BITS = 32  # of a weight that is not quantized


class Format(ABC):
    """A small frozen value; a weight here is float32, (outputs, inputs) or (outputs, channels, height, width).

    Attributes:
        name: As params and tables write it: fp16, int4.
        bits: Of one stored weight, without scales.
        smallest_normal: The magnitude below which a floating-point number loses digits; 0 where there is none.
    """

    name: str
    bits: int
    smallest_normal: float

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
