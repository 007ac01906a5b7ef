"""Stored uint8 images to the network's input, a whole batch at a time, without worker processes.

Pixels stay uint8 until the last step: gather, augment, resize with torch's vectorised uint8 kernel, then one
multiply-add into memory that is used again. Fresh pages for each batch cost several times the arithmetic.
Images above `data.device_budget_mib` stay in their file: a thread gathers the next batches, with the same bits.
"""

from __future__ import annotations

import itertools
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from deepcompress.data.placement import gathered, place
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Int, UInt8
    from torch import Tensor

    from deepcompress.data.augment import Augment
    from deepcompress.data.share import Share
    from deepcompress.data.store import Arrays

KEPT_BUFFERS = 4


@dataclass(frozen=True)
class View:
    """How stored pixels become network input.

    Attributes:
        size: Side of the square input, in pixels.
        mean: Per channel, of values in 0..1.
        std: Per channel, of values in 0..1; positive.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Batch:
    """Some images as the network takes them.

    Attributes:
        images: Normalised, in channels_last memory; those of this process's share alone.
        labels: Class of each image of the whole batch.
        indices: Row of each image of the whole batch in the arrays.
        share: The part of the batch that `images` are; None: all of it.
    """

    images: Float[Tensor, "part 3 size size"]
    labels: Int[Tensor, " batch"]
    indices: Int[Tensor, " batch"]
    share: Share | None = None

    def whole(self, own: Tensor) -> Tensor:
        """What was computed of `images`, a row each, for the whole batch; see `Share.whole`."""
        return own if self.share is None else self.share.whole(own, len(self.labels))


class Batches:
    """Batches of stored images on a device: in order, or with a seed shuffled and perhaps augmented.

    An epoch depends on (seed, number) alone, on any device, so that a resumed run sees what an
    uninterrupted one sees.

    Args:
        arrays: Images and labels; those in a file are loaded if their budget allows, else read as they are needed.
        view: Size and normalisation of the network's input.
        batch_size: Images per batch; the last batch of an epoch may be shorter.
        device: Where batches are made. A GPU keeps all images if they fit in half of its free memory too.
        seed: None for the stored order, as evaluation wants it.
        augment: What to change at random; needs a seed.
        least: Images in a last batch; where it would have fewer, they are part of the batch before.
    """

    def __init__(
        self,
        arrays: Arrays,
        view: View,
        *,
        batch_size: int,
        device: torch.device | str = "cpu",
        seed: int | None = None,
        augment: Augment | None = None,
        least: int = 1,
    ) -> None:
        if augment is not None and seed is None:
            raise ValueError("augment needs a seed")
        self.arrays, self.view, self.batch_size = arrays, view, batch_size
        self.seed, self.augment = seed, augment
        self.device = torch.device(device)
        self.size = len(arrays.labels)
        self._starts = range(0, self.size - least + 1, batch_size) or range(min(1, self.size))
        self._images = place(arrays.images, self.device)
        self._labels = torch.tensor(np.asarray(arrays.labels), device=self.device)
        std, mean = torch.tensor(view.std), torch.tensor(view.mean)
        self._scale = (1 / (255 * std)).repeat(view.size).to(self.device)
        self._shift = (-mean / std).repeat(view.size).to(self.device)
        self._memory = _Memory((min(batch_size + least - 1, self.size), view.size, view.size * 3), self.device)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._starts)

    def epoch(self, number: int = 0, share: Share | None = None) -> Iterator[Batch]:
        """All images once; of each batch the images of a share alone."""
        order = self._order(number)
        on_device = order.to(self.device)
        draws = {name: rows.to(self.device) for name, rows in self._draws(number).items()}
        whole = [slice(*ends) for ends in itertools.pairwise((*self._starts, self.size))]
        own = [share.part(rows) if share else rows for rows in whole]
        found = gathered(self._images, ((order[part], on_device[part]) for part in own), self.device)
        for rows, part, images in zip(whole, own, found, strict=True):
            if self.augment is not None:
                images = self.augment.apply(images, {name: draw[part] for name, draw in draws.items()})
            yield Batch(self._prepare(images), self._labels[on_device[rows]], on_device[rows], share)

    def _order(self, number: int) -> Int[Tensor, " images"]:
        if self.seed is None:
            return torch.arange(self.size)
        return torch.randperm(self.size, generator=_generator(self.seed, "order", number))

    def _draws(self, number: int) -> dict[str, Tensor]:
        if self.augment is None or self.seed is None:
            return {}
        return self.augment.draw(self.size, _generator(self.seed, "augment", number))

    def _prepare(self, images: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch 3 size size"]:
        """Resize and normalise; the result's memory is taken up again once nobody holds it."""
        size = self.view.size
        pixels = resize(images, size).reshape(len(images), size, size * 3)
        out = self._memory.take(len(images)).copy_(pixels)
        torch.addcmul(self._shift, out, self._scale, out=out)
        return out.view(-1, size, size, 3).permute(0, 3, 1, 2)


def resize(images: UInt8[Tensor, "batch height width 3"], size: int) -> Tensor:
    """Bilinear with antialias, in grey levels: uint8 on the CPU, rounded floats on other devices.

    Equal within one grey level to torchvision's `resize` of the same uint8 tensor.
    """
    if tuple(images.shape[1:3]) == (size, size):
        return images
    channels_first = images.permute(0, 3, 1, 2)
    if images.device.type == "cpu":
        resized = F.interpolate(channels_first, size=(size, size), mode="bilinear", antialias=True)
    else:  # only the CPU has a uint8 kernel
        resized = _resize_float(channels_first, size)
    return resized.permute(0, 2, 3, 1)


def _resize_float(images: UInt8[Tensor, "batch 3 height width"], size: int) -> Tensor:
    return F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True).round_()


def _generator(seed: int, purpose: str, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(seed, purpose, number))


class _Memory:
    """Float buffers for batches on the CPU; one is lent again only when no tensor shares it any more.

    A tensor made by `from_numpy` holds its array as long as its storage lives, whoever shares that storage,
    so a weak reference to the array tells when the buffer is free. Other devices pool memory themselves.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        self._shape, self._device = shape, device
        self._buffers: list[np.ndarray] = []
        self._loans: list[weakref.ref[np.ndarray]] = []

    def take(self, batch: int) -> Float[Tensor, "batch height row"]:
        free = [slot for slot, loan in enumerate(self._loans) if loan() is None]
        if not free and (self._device.type != "cpu" or len(self._buffers) == KEPT_BUFFERS):
            return torch.empty((batch, *self._shape[1:]), device=self._device)
        if not free:
            free = [len(self._buffers)]
            self._buffers.append(torch.empty(self._shape).numpy())
            self._loans.append(weakref.ref(self._buffers[-1]))
        lent = self._buffers[free[0]][:batch]
        self._loans[free[0]] = weakref.ref(lent)
        return torch.from_numpy(lent)
