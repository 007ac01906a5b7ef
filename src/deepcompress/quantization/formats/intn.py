"""Integers of 2 to 8 bits times a float16 scale per output channel or per group of its inputs.

Symmetric: zero stays exactly zero, so what was pruned stays pruned. The grid runs from -2**(bits-1) to
2**(bits-1) - 1; params and tables call it int2 to int8.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from deepcompress.models import groups
from deepcompress.models.checkpoint import Encoded
from deepcompress.models.encodings import packed, packed_sparse
from deepcompress.quantization import _torchao
from deepcompress.quantization.format import Format

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.quantization.format import Scales, Shrink

WIDTHS = range(2, 9)
LARGEST_SCALE = torch.finfo(torch.float16).max


@dataclasses.dataclass(frozen=True)
class IntN(Format):
    """A grid of 2**bits values, an odd one of them negative.

    Attributes:
        width: Bits per weight, 2 to 8.
        group_size: Inputs that share a scale, at most; see models/groups.py for a row that this does not
            divide. None: one scale per output channel.
    """

    width: int
    group_size: int | None = None

    def __post_init__(self) -> None:
        if self.width not in WIDTHS:
            raise ValueError(f"integers have 2 to 8 bits, got {self.width}")
        if self.group_size is not None and self.group_size < 1:
            raise ValueError(f"a group has at least one input, got {self.group_size}")

    @property
    def name(self) -> str:
        return f"int{self.width}"

    @property
    def bits(self) -> int:
        return self.width

    @property
    def smallest_normal(self) -> float:
        return 0.0

    def groups(self, weight: Float[Tensor, "outputs ..."]) -> int:
        return groups.count(weight[0].numel(), self.group_size)

    def scales(self, weight: Float[Tensor, "outputs ..."], shrink: Shrink = None) -> Scales:
        found = _torchao.scales(self._split(weight), self.width)
        if shrink is not None:
            found = found * shrink
        # In float16 as in the file, so that rounding here and what is read back agree to the last bit.
        return found.clamp(_torchao.SMALLEST_SCALE, LARGEST_SCALE).half()

    def rounded(self, weight: Float[Tensor, "outputs ..."], scales: Scales) -> Float[Tensor, "outputs ..."]:
        if scales is None:
            raise ValueError(f"{self.name} rounds to multiples of scales, and there are none")
        return groups.join(_torchao.rounded(self._split(weight), scales, self.width), weight.shape)

    def overflows(self, weight: Float[Tensor, "outputs ..."], scales: Scales) -> int:
        if scales is None:
            raise ValueError(f"{self.name} has no range without scales")
        codes = self._split(weight) / scales.float()[..., None]
        edge = 2.0 ** (self.width - 1)
        return int(((codes < -edge - 0.5) | (codes > edge - 0.5)).sum())

    def encodings(self, weight: Float[Tensor, "outputs ..."], scales: Scales) -> list[Encoded]:
        ways = {"packed": packed.encode, "packed_sparse": packed_sparse.encode}
        return [Encoded(name, encode(weight, self.width, scales)) for name, encode in ways.items()]

    def _split(self, weight: Float[Tensor, "outputs ..."]) -> Float[Tensor, "outputs groups size"]:
        return groups.split(groups.rows(weight), self.groups(weight))


def make(bits: int, group_size: int | None = None) -> IntN:
    """The format of so many bits."""
    return IntN(bits, group_size)
