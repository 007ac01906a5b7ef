"""Stored images through torchvision's transforms, one by one, as torchvision.datasets.CIFAR100 gives them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn


class Images(Dataset):
    """One transformed image, its label and its row at a time.

    Args:
        folder: `data/fit` of the pipeline.
        part: `train` or `validation`.
        transform: From a PIL image to a tensor.
    """

    def __init__(self, folder: Path, part: str, transform: Callable[[Image.Image], Tensor]) -> None:
        self.pixels = np.load(folder / f"{part}_images.npy")
        self.labels = np.load(folder / f"{part}_labels.npy")
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index]), index


class Data:
    """Training and validation images, and loaders of them.

    Args:
        folder: `data/fit` of the pipeline.
        size: Side of the network's input [px].
        channels_last: Whether batches come in channels_last memory.
    """

    def __init__(self, folder: Path, size: int, *, channels_last: bool) -> None:
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.classes = len(self.meta["classes"])
        normalise = transforms.Normalize(self.meta["mean"], self.meta["std"])
        transform = transforms.Compose([transforms.Resize(size), transforms.ToTensor(), normalise])
        self.train, self.validation = Images(folder, "train", transform), Images(folder, "validation", transform)
        self._collate = _channels_last if channels_last else None

    def epoch(self, number: int, *, batch_size: int, seed: int) -> DataLoader:
        """The training images in the order that the pipeline has in an epoch.

        Args:
            number: Of the epoch, from 0.
            batch_size: Images per batch.
            seed: Of the training.
        """
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
