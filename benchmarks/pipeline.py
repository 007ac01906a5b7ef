"""The source report's whole protocol, small, by the pipeline's stages and the plain way: CPU time, stage by stage.

Fine-tuning of the last layer, sensitivity of every layer at six sparsities by both methods, pruning at five sparsities
with fine-tuning, quantization to four formats after and in training, two teachers, and five students of each. Grad-CAM,
latency and the students without a teacher, which cost both ways the same, are left out.

The ways take turns item by item, each in a process with one thread; starting Python and imports count for neither.
The plain way (benchmarks/plain) reads the same params.yaml and starting weights, sees the same images in the same
order and draws the same random numbers; each way goes on from its own earlier models. So results are equal if
rounding alone tells them apart: at most one validation image of each accuracy (of students, all of whose layers
train, one standard error), and 3 % of the norm of each tensor of weights. Measured are 0 to 2 images and, of the worst
tensor, 0.001 % to 1 %: Adam turns the sign of a gradient near zero into a whole step, and a weight on the edge of two
values of int4 may go either way. Another seed moves the worst tensor by a third and more.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import torch

from benchmarks import pipeline_ours, pipeline_setup
from benchmarks.interleaved import print_line, print_machine, spread
from benchmarks.pipeline_items import items
from benchmarks.plain import items as plain_items

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.pipeline_items import Item, Made

    Ways = Mapping[str, Callable[[Item], Made]]
    """`ours` and `plain`."""

WEIGHTS_TOLERANCE = 0.03  # of a tensor's norm
IMAGES_TOLERANCE = 1
THREADS = 1


@dataclasses.dataclass(frozen=True)
class Pair:
    """An item, made both ways.

    Attributes:
        item: What was made.
        ours: By the pipeline.
        plain: By the plain way.
        images: Validation images.
    """

    item: Item
    ours: Made
    plain: Made
    images: int

    @property
    def right_apart(self) -> int:
        """The largest difference between two counts of right answers, in images."""
        return max(abs(one - other) for one, other in zip(self.ours.right, self.plain.right, strict=True))

    @property
    def weights_apart(self) -> float:
        """The largest difference between two tensors of weights, as a share of the plain one's norm."""
        ours, plain = self.ours.weights, self.plain.weights
        if ours.keys() != plain.keys():
            return float("inf")
        apart = [np.linalg.norm(ours[name] - w) / max(np.linalg.norm(w), 1e-12) for name, w in plain.items()]
        return float(max(apart, default=0.0))

    @property
    def equal(self) -> bool:
        """Whether the results are equal as far as rounding lets them."""
        allowed = float(IMAGES_TOLERANCE)
        if self.item.kind == "student":
            shares = [count / self.images for count in self.plain.right]
            allowed = max(allowed, *(math.sqrt(self.images * share * (1 - share)) for share in shares))
        return self.right_apart <= allowed and self.weights_apart <= WEIGHTS_TOLERANCE


def run_round(ways: Ways, images: int, first: int) -> list[Pair]:
    """Make every item both ways, in turn: every second item the other way first.

    Args:
        ways: `ours` and `plain`.
        images: Validation images.
        first: 0 or 1: which way begins.
    """
    pairs = []
    for number, item in enumerate(items(), first):
        order = list(ways) if number % 2 == 0 else list(reversed(ways))
        made = {name: ways[name](item) for name in order}
        pairs.append(Pair(item, made["ours"], made["plain"], images))
        times = f"plain {made['plain'].seconds:.2f} s, ours {made['ours'].seconds:.2f} s"
        print(" ".join([item.kind, *item.words]), times, _verdict(pairs[-1:]), sep=": ", file=sys.stderr, flush=True)
    return pairs


@contextmanager
def processes(*, channels_last: bool) -> Iterator[Callable[[Path], Ways]]:
    """A process per way; gives a function from a folder to the ways that work in it.

    Args:
        channels_last: Whether the plain way has channels_last memory, too.
    """
    context = multiprocessing.get_context("spawn")
    makers = {"ours": pipeline_ours.make, "plain": partial(plain_items.make, channels_last=channels_last)}
    pools = {name: ProcessPoolExecutor(1, mp_context=context, initializer=_prepare) for name in makers}

    def inside(folder: Path) -> Ways:
        return {
            name: lambda item, name=name: pools[name].submit(makers[name], item, folder).result()  # type: ignore[misc]
            for name in makers
        }

    try:
        yield inside
    finally:
        for pool in pools.values():
            pool.shutdown()


def table(rounds: list[list[Pair]]) -> list[str]:
    """A line per stage and one for all: CPU seconds of both ways (median of the rounds), their ratio, and equality."""
    rows = list(dict.fromkeys(pair.item.row for pair in rounds[0]))
    lines = [f"{'stage':<28}{'plain s':>9}{'ours s':>9}{'ratio':>8}  equal?"]
    for row in [*rows, "total"]:
        chosen = [[pair for pair in pairs if row in (pair.item.row, "total")] for pairs in rounds]
        plain, ours = (_median_sum(chosen, way) for way in ("plain", "ours"))
        every = [pair for pairs in chosen for pair in pairs]
        numbers = f"{row:<28}{plain:>9.2f}{ours:>9.2f}{plain / ours:>7.2f}x"
        lines.append(f"{numbers}  {_verdict(every)}")
    return lines


@click.command()
@click.option("--quick", is_flag=True, help="Tiny networks and few images: seconds, for a test; its times say nothing.")
@click.option(
    "--per-class", default=pipeline_setup.FULL.per_class, show_default=True, help="Images of each of 20 classes."
)
@click.option("--repeats", default=1, show_default=True, help="Rounds of the whole protocol; one takes minutes.")
@click.option("--channels-last", is_flag=True, help="Give the plain way channels_last memory, too.")
def main(quick: bool, per_class: int, repeats: int, channels_last: bool) -> None:
    """CPU seconds by stage, ours and plain, and whether both end with the same models."""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)  # of the processes to come
    torch.set_num_threads(THREADS)
    scale = pipeline_setup.QUICK if quick else dataclasses.replace(pipeline_setup.FULL, per_class=per_class)
    print_machine(repeats)
    print(f"{scale}; channels_last memory of the plain way: {channels_last}", flush=True)
    with processes(channels_last=channels_last) as ways:
        if not quick:
            _round(pipeline_setup.QUICK, ways, 0)  # loads what a process loads once
        rounds = [_round(scale, ways, number) for number in range(repeats)]
    print("\n".join(table(rounds)))
    ratios = [_sum(pairs, "plain") / _sum(pairs, "ours") for pairs in rounds]
    print_line("total, ours vs plain", spread(ratios, "x"))
    top1 = {pair.item.row: 100 * pair.ours.right[-1] / pair.images for pair in rounds[0] if pair.ours.weights}
    print_line(
        "top-1 of each stage's last [%]", ", ".join(f"{row.split(',')[0]} {pct:.0f}" for row, pct in top1.items())
    )


def _round(scale: pipeline_setup.Scale, ways: Callable[[Path], Ways], first: int) -> list[Pair]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipeline_setup.write(folder, scale)
        images = len(np.load(folder / "data/fit/validation_labels.npy"))
        return run_round(ways(folder), images, first)


def _prepare() -> None:
    torch.set_num_threads(THREADS)
    logging.disable(logging.INFO)


def _median_sum(rounds: list[list[Pair]], way: str) -> float:
    return float(np.median([_sum(pairs, way) for pairs in rounds]))


def _sum(pairs: list[Pair], way: str) -> float:
    return sum(getattr(pair, way).seconds for pair in pairs)


def _verdict(pairs: list[Pair]) -> str:
    counts = sum(len(pair.plain.right) for pair in pairs)
    right, weights = max(pair.right_apart for pair in pairs), max(pair.weights_apart for pair in pairs)
    apart = f"{counts} accuracies within {right} of {pairs[0].images} images"
    if any(pair.plain.weights for pair in pairs):
        apart += f", weights within {weights:.0e}"
    return f"{'yes' if all(pair.equal for pair in pairs) else 'NO'}: {apart}"


if __name__ == "__main__":
    main()
