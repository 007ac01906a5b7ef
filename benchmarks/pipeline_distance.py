"""How far apart the models of `benchmarks.pipeline` are, and whether that is no more than what rounding does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.pipeline_items import Item, Made

TIMES_AS_FAR = 2.0
IMAGES_AT_LEAST, WEIGHTS_AT_LEAST = 1, 0.03  # that may differ anyway: a tenth of what another seed does to weights


@dataclass(frozen=True)
class Distance:
    """Between two that were made of one item, or the largest of several.

    Attributes:
        images: Largest difference between two counts of right answers.
        weights: Largest difference between two tensors of weights, as a share of the second's norm.
    """

    images: int = 0
    weights: float = 0.0

    @classmethod
    def between(cls, one: Made, other: Made) -> Distance:
        images = max(abs(mine - yours) for mine, yours in zip(one.right, other.right, strict=True))
        if one.weights.keys() != other.weights.keys():
            return cls(images, math.inf)
        pairs = [(one.weights[name], weight) for name, weight in other.weights.items()]
        apart = [float(np.linalg.norm(mine - yours) / max(np.linalg.norm(yours), 1e-12)) for mine, yours in pairs]
        return cls(images, max(apart, default=0.0))

    @classmethod
    def largest(cls, found: Iterable[Distance]) -> Distance:
        every = list(found)
        return cls(max(one.images for one in every), max(one.weights for one in every))

    def within(self, rounding: Distance) -> bool:
        """Whether this is no more than rounding does, given how far rounding alone takes the plain way."""
        images = max(IMAGES_AT_LEAST, TIMES_AS_FAR * rounding.images)
        return self.images <= images and self.weights <= max(WEIGHTS_AT_LEAST, TIMES_AS_FAR * rounding.weights)


@dataclass(frozen=True)
class Trio:
    """An item, made three ways.

    Attributes:
        item: What was made.
        plain: By the plain way.
        twin: By the plain way with channels_last memory.
        ours: By the pipeline.
    """

    item: Item
    plain: Made
    twin: Made
    ours: Made

    @property
    def apart(self) -> Distance:
        return Distance.between(self.ours, self.plain)

    @property
    def rounding(self) -> Distance:
        return Distance.between(self.twin, self.plain)


def equal_row(trios: list[Trio], row: str) -> bool:
    """Whether the items of a row of the table are as near to the plain way as rounding lets those of their kind be."""
    of_row = [trio for trio in trios if trio.item.row == row]
    of_kind = [trio for trio in trios if trio.item.kind == of_row[0].item.kind]
    rounding = Distance.largest(trio.rounding for trio in of_kind)
    return Distance.largest(trio.apart for trio in of_row).within(rounding)


def far(trios: list[Trio]) -> str:
    """The largest distances of ours in words, and in brackets those of the twin."""
    apart, rounding = (Distance.largest(getattr(trio, kind) for trio in trios) for kind in ("apart", "rounding"))
    said = f"{sum(len(trio.plain.right) for trio in trios)} accuracies within {apart.images} ({rounding.images}) images"
    if any(trio.plain.weights for trio in trios):
        said += f", weights within {apart.weights:.0e} ({rounding.weights:.0e})"
    return said
