"""What a number format is to everything else here: rounding of a weight, and how the rounded one is stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float, Float16
    from torch import Tensor

    from deepcompress.models.checkpoint import Encoded

    Scales = Float16[Tensor, "outputs groups"] | None
    Shrink = Float[Tensor, "outputs groups"] | None


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
    def scales(self, weight: Float[Tensor, "outputs ..."], shrink: Shrink = None) -> Scales:
        """The step of each group's grid: the smallest that clips nothing, times `shrink`; None without scales."""

    @abstractmethod
    def rounded(self, weight: Float[Tensor, "outputs ..."], scales: Scales) -> Float[Tensor, "outputs ..."]:
        """The nearest value that the format holds, as float32; too large ones become the largest."""

    @abstractmethod
    def overflows(self, weight: Float[Tensor, "outputs ..."], scales: Scales) -> int:
        """How many weights lie beyond the largest value of the grid, more than rounding accounts for."""

    @abstractmethod
    def encodings(self, weight: Float[Tensor, "outputs ..."], scales: Scales) -> list[Encoded]:
        """All ways to store a weight that `rounded` gave, without loss; none: it is stored as it is."""
