"""Batches at 224 px from stored 32 px images: ours in one process, torchvision's transforms in a DataLoader.

The plain way is what a course teaches: torchvision's transforms, image by image, in worker processes that
stay alive between epochs. It runs twice, on PIL images and on tensors; the faster one is the one to beat.
Ours runs twice, too, with the images in memory and mapped from their file. The file is in the page cache after the
first round, so this is the price of the map, not of the disk.

What other benchmarks train and measure on is here as well: images, a VGG-11 and a recipe.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from benchmarks.plain.images import Images, transform
from benchmarks.printing import print_line, print_machine, print_rates, print_speedup
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays, map_array
from deepcompress.errors import Command
from deepcompress.measure.passes import interleaved
from deepcompress.models.spec import Model, asked
from deepcompress.models.vgg import VGG
from deepcompress.training.recipe import Recipe

MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
CLASSES = 100
OURS = "ours"


def random_arrays(images: int, side: int) -> Arrays:
    """Random pixels; no transform's speed depends on what it sees."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    return Arrays(images=pixels, labels=generator.integers(0, 100, images))


def vgg11(*, width: float, size: int, batch_norm: bool, hidden: int = 4096) -> VGG:
    """A VGG-11 for CIFAR-100 with fresh weights; at width 1 and 224 px that of the paper."""
    sides = {"width": width, "hidden": hidden, "image_size": size}
    section = Model(arch="vgg11", batch_norm=batch_norm, dropout=0.5, weights=None, **sides)
    return VGG(asked(section, CLASSES))


def adamw(batch_size: int) -> Recipe:
    """One epoch of AdamW on all layers."""
    rule = {"optimizer": "adamw", "learning_rate": 1e-4, "weight_decay": 5e-2, "schedule": "constant"}
    return Recipe(trainable="all", epochs=1, batch_size=batch_size, **rule)


def plain_transforms(size: int) -> dict[str, Callable[[np.ndarray], Tensor]]:
    """The same work on PIL images and on tensors."""
    tensors = [
        _to_tensor,
        v2.Resize(size, antialias=True),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
    return {"plain, PIL": transform(size, MEAN, STD), "plain, tensors": v2.Compose(tensors)}


def largest_difference(arrays: Arrays, size: int) -> float:
    """Between our inputs and the plain ones, in grey levels of the network's input."""
    few = Arrays(images=arrays.images[:8], labels=arrays.labels[:8])
    ours = next(Batches(few, View(size, MEAN, STD), batch_size=8).epoch()).images
    grey_level = 1 / (255 * torch.tensor(STD)[:, None, None])
    return max(
        float(((torch.stack([transform(image) for image in few.images]) - ours) / grey_level).abs().max())
        for transform in plain_transforms(size).values()
    )


def make_ways(
    arrays: Arrays, folder: Path, *, size: int, batch_size: int, workers: int
) -> dict[str, Callable[[], object]]:
    """One shuffled epoch of every kind; the images are also written to the folder."""
    np.save(folder / "images.npy", arrays.images)
    kinds = {OURS: arrays, "ours, mapped": Arrays(map_array(folder / "images.npy"), arrays.labels)}
    ways: dict[str, Callable[[], object]] = {}
    for name, kind in kinds.items():
        batches = Batches(kind, View(size, MEAN, STD), batch_size=batch_size, seed=0)
        ways[name] = lambda batches=batches: deque(batches.epoch(0), maxlen=0)  # type: ignore[misc]
    keep = {"num_workers": workers, "persistent_workers": workers > 0}
    for name, plain in plain_transforms(size).items():
        images = Images(arrays.images, arrays.labels, plain)
        loader = DataLoader(images, batch_size, shuffle=True, **keep)  # type: ignore[arg-type]
        ways[f"{name}, {workers} workers"] = partial(deque, loader, 0)
    return ways


@click.command(cls=Command)
@click.option("--images", default=4096, show_default=True, help="Images per epoch.")
@click.option("--stored", default=32, show_default=True, help="Side of the stored images [px].")
@click.option("--size", default=224, show_default=True, help="Side of the network's input [px].")
@click.option("--batch-size", default=64, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Worker processes of the plain way.")
@click.option("--repeats", default=9, show_default=True, help="Timed rounds.")
def main(images: int, stored: int, size: int, batch_size: int, workers: int, repeats: int) -> None:
    """Images per second, ours and the plain ways, and their ratio."""
    arrays = random_arrays(images, stored)
    print_machine(repeats)
    with tempfile.TemporaryDirectory() as folder:
        ways = make_ways(arrays, Path(folder), size=size, batch_size=batch_size, workers=workers)
        times = interleaved(ways, warm_up=1, rounds=repeats)
    print_rates(times, amount=images, unit="images")
    for name in [*times][1:]:
        print_speedup(times, ours=OURS, plain=name)
    print_line("largest difference", f"{largest_difference(arrays, size):.2f} grey levels")


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


if __name__ == "__main__":
    main()
