"""What `benchmarks.pipeline` has its ways make: the items of the source report's protocol, and what became of each.

How far apart models are that were made of one item, and whether that is no more than what rounding does, is here, too.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.pipeline_setup import FORMATS, METHODS, PRUNED, TEACHERS

FIT = Path("data/fit")
MODES = ("ptq", "qat")
SCANS = ("unstructured", "structured")
TIMES_AS_FAR = 2.0
IMAGES_AT_LEAST, WEIGHTS_AT_LEAST = 1, 0.03  # that may differ anyway: a tenth of what another seed does to weights


@dataclass(frozen=True)
class Item:
    """One model of the protocol, or one sensitivity scan."""

    row: str  # of the table that counts it
    kind: str  # finetune, sensitivity, prune, quantize, teacher or student
    words: tuple[str, ...] = ()  # what tells it from others of its kind, such as (`crd`, `vgg19`)


@dataclass(frozen=True)
class Made:
    """What became of an item."""

    seconds: float  # of CPU time, of the process and its children
    right: list[int]  # validation images answered right: after each epoch, or at each point of each layer's curve
    weights: dict[str, np.ndarray]  # of the model, by name; none of a sensitivity scan


def items() -> list[Item]:
    """The protocol, in an order in which each item finds what it needs."""
    return [
        Item("finetune", "finetune"),
        *(Item(f"sensitivity {method}", "sensitivity", (method,)) for method in SCANS),
        *(Item(f"prune, {len(PRUNED)} sparsities", "prune", (str(sparsity),)) for sparsity in PRUNED),
        *(
            Item(f"quantize {mode}, {len(FORMATS)} formats", "quantize", (mode, form))
            for mode in MODES
            for form in FORMATS
        ),
        *(Item(f"teachers, {len(TEACHERS)}", "teacher", (name,)) for name in TEACHERS),
        *(
            Item(f"students {method}, {len(TEACHERS)}", "student", (method, name))
            for method in METHODS
            for name in TEACHERS
        ),
    ]


def cpu_seconds(work: Callable[[], object]) -> float:
    """What some work takes of this process and of children that end in it [s]."""

    def spent() -> float:
        times = os.times()
        return time.process_time() + times.children_user + times.children_system

    start = spent()
    work()
    return spent() - start


@dataclass(frozen=True)
class Distance:
    """Between two that were made of one item, or the largest of several."""

    images: int  # largest difference between two counts of right answers
    weights: float  # largest difference between two tensors of weights, as a share of the second's norm

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
    """An item, made three ways."""

    item: Item
    plain: Made
    twin: Made  # by the plain way with channels_last memory
    ours: Made  # by the pipeline

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
