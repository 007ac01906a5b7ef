"""Shuffled batches of stored images: kept in memory, and mapped from their file.

The file is in the page cache after the first round, so this is the price of the map, not of the disk. Without
training nothing hides it; with `--train` a small network learns from the batches, as in a stage.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.batches import MEAN, STD, random_arrays
from benchmarks.interleaved import interleave, print_line, print_machine, print_rates, print_speedup
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays, map_array
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY, MAP = "in memory", "memory-mapped"
WIDTHS = (16, 32, 64, 64, 128, 128, 128, 128)  # a quarter of VGG-11's


def make_ways(
    arrays: Arrays, folder: Path, *, size: int, batch_size: int, train: bool
) -> dict[str, Callable[[], None]]:
    """One shuffled epoch of every kind."""
    path = folder / "images.npy"
    np.save(path, arrays.images)
    kinds = {MEMORY: arrays.images, MAP: map_array(path)}
    return {name: _epoch(Arrays(images, arrays.labels), size, batch_size, train) for name, images in kinds.items()}


def equal(arrays: Arrays, folder: Path, size: int) -> bool:
    """Whether an epoch from the map has the bits of one from memory."""
    mapped = Arrays(map_array(folder / "images.npy"), arrays.labels)
    epochs = (Batches(one, View(size, MEAN, STD), batch_size=64, seed=0).epoch(0) for one in (arrays, mapped))
    return all(torch.equal(a.images, b.images) for a, b in zip(*epochs, strict=True))


@click.command()
@click.option("--images", default=8192, show_default=True, help="Images per epoch.")
@click.option("--stored", default=32, show_default=True, help="Side of the stored images [px].")
@click.option("--size", default=32, show_default=True, help="Side of the network's input [px].")
@click.option("--batch-size", default=64, show_default=True)
@click.option("--train", is_flag=True, help="Train a small VGG-11 on the batches.")
@click.option("--repeats", default=9, show_default=True, help="Timed rounds.")
def main(images: int, stored: int, size: int, batch_size: int, train: bool, repeats: int) -> None:
    """Images per second of each way, and their ratios."""
    arrays = random_arrays(images, stored)
    print_machine(repeats)
    with tempfile.TemporaryDirectory() as folder:
        ways = make_ways(arrays, Path(folder), size=size, batch_size=batch_size, train=train)
        seconds = interleave(ways, repeats)
        print_rates(seconds, amount=images, unit="images")
        print_speedup(seconds, ours=MAP, plain=MEMORY)
        print_line("same bits", str(equal(arrays, Path(folder), size)))


def _epoch(arrays: Arrays, size: int, batch_size: int, train: bool) -> Callable[[], None]:
    batches = Batches(arrays, View(size, MEAN, STD), batch_size=batch_size, seed=0)
    model = VGG(VGGSpec("vgg11", True, WIDTHS, (64, 64), 100, size, 0.0)) if train else None

    def run() -> None:
        for batch in batches.epoch(0):
            if model:
                F.cross_entropy(model(batch.images), batch.labels).backward()

    return run


if __name__ == "__main__":
    main()
