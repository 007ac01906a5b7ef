"""Batches at 224 px from stored 32 px images: ours in one process, torchvision's transforms in a DataLoader.

The plain way is what a course teaches: torchvision's transforms, image by image, in worker processes that
stay alive between epochs. It runs twice, on PIL images and on tensors; the faster one is the one to beat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import v2

from benchmarks.interleaved import interleave, print_line, print_machine, print_rates, print_speedup
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)


class PlainImages(Dataset):
    """One transformed image at a time, as in torchvision.datasets."""

    def __init__(self, arrays: Arrays, transform: Callable[[np.ndarray], Tensor]) -> None:
        self.arrays, self.transform = arrays, transform

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.arrays.images[index]), int(self.arrays.labels[index])


def random_arrays(images: int, side: int) -> Arrays:
    """Random pixels; no transform's speed depends on what it sees."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    return Arrays(images=pixels, labels=generator.integers(0, 100, images))


def plain_transforms(size: int) -> dict[str, Callable[[np.ndarray], Tensor]]:
    """The same work on PIL images and on tensors."""
    pil = [
        transforms.ToPILImage(),
        transforms.Resize(size),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
    tensors = [
        _to_tensor,
        v2.Resize(size, antialias=True),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ]
    return {"plain, PIL": transforms.Compose(pil), "plain, tensors": v2.Compose(tensors)}


def largest_difference(arrays: Arrays, size: int) -> float:
    """Between our inputs and the plain ones, in grey levels of the network's input."""
    few = Arrays(images=arrays.images[:8], labels=arrays.labels[:8])
    ours = next(Batches(few, View(size, MEAN, STD), batch_size=8).epoch()).images
    grey_level = 1 / (255 * torch.tensor(STD)[:, None, None])
    return max(
        float(((torch.stack([transform(image) for image in few.images]) - ours) / grey_level).abs().max())
        for transform in plain_transforms(size).values()
    )


def make_ways(arrays: Arrays, *, size: int, batch_size: int, workers: int) -> dict[str, Callable[[], None]]:
    """One shuffled epoch of every kind."""
    ours = Batches(arrays, View(size, MEAN, STD), batch_size=batch_size, seed=0)
    ways: dict[str, Callable[[], None]] = {"ours": lambda: _consume(ours.epoch(0))}
    for name, transform in plain_transforms(size).items():
        loader = DataLoader(
            PlainImages(arrays, transform),
            batch_size=batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        ways[f"{name}, {workers} workers"] = lambda loader=loader: _consume(loader)  # type: ignore[misc]
    return ways


@click.command()
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
    seconds = interleave(make_ways(arrays, size=size, batch_size=batch_size, workers=workers), repeats)
    print_rates(seconds, amount=images, unit="images")
    ours, *plain = seconds
    for name in plain:
        print_speedup(seconds, ours=ours, plain=name)
    print_line("largest difference", f"{largest_difference(arrays, size):.2f} grey levels")


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


def _consume(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


if __name__ == "__main__":
    main()
