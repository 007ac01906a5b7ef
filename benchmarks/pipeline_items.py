"""What `benchmarks.pipeline` has both ways make: the items of the source report's protocol, and what became of one."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pipeline_setup import FORMATS, METHODS, PRUNED, TEACHERS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

FIT = Path("data/fit")
MODES = ("ptq", "qat")
SCANS = ("unstructured", "structured")


@dataclass(frozen=True)
class Item:
    """One model of the protocol, or one sensitivity scan.

    Attributes:
        row: Of the table that counts it.
        kind: finetune, sensitivity, prune, quantize, teacher or student.
        words: What tells it from others of its kind, such as (`crd`, `vgg19`).
    """

    row: str
    kind: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Made:
    """What became of an item.

    Attributes:
        seconds: Of CPU time, of the process and its children.
        right: Validation images answered right: after each epoch, or at each point of each layer's curve.
        weights: Of the model, by name; none of a sensitivity scan.
    """

    seconds: float
    right: list[int]
    weights: dict[str, np.ndarray]


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
    start = _spent()
    work()
    return _spent() - start


def _spent() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
