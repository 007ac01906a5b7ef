"""Stored images through torchvision's transforms, one by one, as torchvision.datasets.CIFAR100 gives them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from deepcompress.runtime import derived_seed


def transform(size: int, mean: Sequence[float], std: Sequence[float]) -> Callable[[np.ndarray], Tensor]:
    """From stored pixels to what a network takes."""
    steps = [transforms.ToPILImage(), transforms.Resize(size), transforms.ToTensor(), transforms.Normalize(mean, std)]
    return transforms.Compose(steps)


class Images(Dataset):
    """One transformed image, its label and its row at a time."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, transform: Callable[[np.ndarray], Tensor]) -> None:
        self.pixels, self.labels, self.transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        return self.transform(self.pixels[index]), int(self.labels[index]), index


class Data:
    """Training and validation images in `data/fit`, at the side of the network's input [px], and loaders of them."""

    def __init__(self, folder: Path, size: int, *, channels_last: bool) -> None:
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.classes = len(self.meta["classes"])
        pixels_to_input = transform(size, self.meta["mean"], self.meta["std"])
        self.train, self.validation = (
            Images(np.load(folder / f"{part}_images.npy"), np.load(folder / f"{part}_labels.npy"), pixels_to_input)
            for part in ("train", "validation")
        )
        self._collate = _channels_last if channels_last else None

    def epoch(self, number: int, *, batch_size: int, seed: int) -> DataLoader:
        """The training images in the order that the pipeline has in an epoch, counted from 0, of a training's seed."""
        drawn = torch.Generator().manual_seed(derived_seed(derived_seed(seed, "training images"), "order", number))
        order = torch.randperm(len(self.train), generator=drawn).tolist()
        return self._loader(self.train, batch_size, order)

    def right(self, model: nn.Module, batch_size: int) -> int:
        """How many validation images a model is right on, by one pass in evaluation mode."""
        model.eval()
        with torch.no_grad():
            loader = self._loader(self.validation, batch_size, None)
            return sum(int((model(images).argmax(1) == labels).sum()) for images, labels, _ in loader)

    def _loader(self, images: Images, batch_size: int, order: list[int] | None) -> DataLoader:
        # A generator of its own: otherwise each loader draws from the one that dropout draws from.
        own = torch.Generator()
        return DataLoader(images, batch_size, sampler=order, generator=own, collate_fn=self._collate)


def _channels_last(samples: list[Any]) -> list[Tensor]:
    images, labels, rows = torch.utils.data.default_collate(samples)
    return [images.contiguous(memory_format=torch.channels_last), labels, rows]
