"""Stored uint8 images to the network's input, a whole batch at a time, without worker processes.

Pixels stay uint8 until the last step: gather, augment, resize with torch's vectorised uint8 kernel, then one
multiply-add in place. A batch's memory is that of one before (see `runtime.keep_memory_`): fresh pages cost several
times the arithmetic.
A GPU holds all images if they fit its budget; else, and on a CPU, each batch is gathered from host memory, which may
be a map of their file. The bits are the same.

Of several processes each computes its own shard of every batch. What a network gives is gathered, so that every
process knows the outputs of the whole batch, and every loss, be it of pairs of images or with a memory of all, is
written as for one process.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn import functional as F

from deepcompress import runtime
from deepcompress.data.augment import Augment, mix, own_share
from deepcompress.data.store import BYTES_PER_MIB, Arrays
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped, UInt8
    from torch import Tensor

DEVICE_FRACTION = 0.5  # of the free memory of a GPU that images may take
UPLOAD_BYTES = 2**26


@dataclass(frozen=True)
class View:
    """How stored pixels become network input."""

    size: int  # side of the square input, in pixels
    mean: tuple[float, ...]  # per channel, of values in 0..1
    std: tuple[float, ...]  # per channel, of values in 0..1; positive


@dataclass(frozen=True)
class Shard:
    """One process's part of every batch: that of process `rank`, from 0, of 2 or more."""

    rank: int
    processes: int

    @classmethod
    def own(cls) -> Shard | None:
        """Of this process; None where there is but one."""
        return cls(runtime.rank(), runtime.process_count()) if runtime.process_count() > 1 else None

    def sizes(self, rows: int) -> list[int]:
        """Rows of each process: as even as can be, the first ones have one more; 0 where rows are too few."""
        return [rows // self.processes + (number < rows % self.processes) for number in range(self.processes)]

    def part(self, rows: slice) -> slice:
        """Of some consecutive rows, those of this process."""
        sizes = self.sizes(rows.stop - rows.start)
        start = rows.start + sum(sizes[: self.rank])
        return slice(start, start + sizes[self.rank])

    def whole(self, own: Shaped[Tensor, "part ..."], rows: int) -> Shaped[Tensor, "rows ..."]:
        """What all processes computed of their rows, in the order of the batch.

        Its gradient is that of this process's rows times the number of processes: a loss of the whole batch is
        computed by all of them alike, and the mean of their gradients, as DDP takes it, is then the gradient of
        that loss, however uneven the parts.
        """
        gathered: Tensor = _Gather.apply(own, self, rows)
        return gathered


@dataclass(frozen=True)
class Batch:
    """Some images as the network takes them."""

    # Normalised, in channels_last memory; those of this process's shard alone.
    images: Float[Tensor, "part 3 size size"]
    labels: Int[Tensor, " batch"]  # class of each image of the whole batch
    indices: Int[Tensor, " batch"]  # row of each image of the whole batch in the arrays
    shard: Shard | None = None  # the part of the batch that `images` are; None: all of it
    # Class of the image that each of the whole batch is mixed with; None: no image is mixed.
    others: Int[Tensor, " batch"] | None = None
    # Of each image of the whole batch, the share that is not the other's: a half or more.
    own_share: Float[Tensor, " batch"] | None = None

    def whole(self, own: Tensor) -> Tensor:
        """What was computed of `images`, a row each, for the whole batch; see `Shard.whole`."""
        return own if self.shard is None else self.shard.whole(own, len(self.labels))

    def cross_entropy(self, logits: Float[Tensor, "batch classes"], label_smoothing: float = 0.0) -> Float[Tensor, ""]:
        """Mean negative log-likelihood of the labels [nats]; of a mixed image by its shares of both labels.

        Smoothing spreads that share of the target evenly over all classes; source: Szegedy et al., CVPR 2016,
        https://arxiv.org/abs/1512.00567, section 7.
        """
        if self.others is None or self.own_share is None:
            return F.cross_entropy(logits, self.labels, label_smoothing=label_smoothing)
        own, other = (
            F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
            for labels in (self.labels, self.others)
        )
        return torch.lerp(other, own, self.own_share.to(own)).mean()


class Batches:
    """Batches of stored images on a device: in order, or with a seed shuffled and perhaps augmented.

    An epoch depends on (seed, number) alone, on any device, so that a resumed run sees what an
    uninterrupted one sees.

    Args:
        batch_size: Images per batch; the last batch of an epoch may be shorter.
        device: Where batches are made. A GPU holds all images if they fit the arrays' budget and half of what is free.
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
        starts = range(0, self.size - least + 1, batch_size) or range(min(1, self.size))
        self._parts = [slice(*ends) for ends in itertools.pairwise((*starts, self.size))]
        self._images = _place(arrays, self.device)
        self._labels = torch.tensor(np.asarray(arrays.labels), device=self.device)
        std, mean = torch.tensor(view.std), torch.tensor(view.mean)
        self._scale = (1 / (255 * std)).repeat(view.size).to(self.device)
        self._shift = (-mean / std).repeat(view.size).to(self.device)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._parts)

    @property
    def sizes(self) -> list[int]:
        """Images of each batch of an epoch."""
        return [part.stop - part.start for part in self._parts]

    def epoch(self, number: int = 0, shard: Shard | None = None) -> Iterator[Batch]:
        """All images once; of each batch the images of a shard alone."""
        order = torch.arange(self.size)
        draws: dict[str, Tensor] = {}
        if self.seed is not None:
            order = torch.randperm(self.size, generator=_generator(self.seed, "order", number))
            if self.augment is not None:
                drawn = self.augment.draw(self.size, _generator(self.seed, "augment", number))
                draws = {name: rows.to(self.device) for name, rows in drawn.items()}
        on_device = order.to(self.device)

        def changed(rows: slice | Tensor) -> Tensor:
            images = self._gather(order[rows], on_device[rows])
            if self.augment is None:
                return images
            return self.augment.apply(images, {name: draw[rows] for name, draw in draws.items()})

        for batch in self._parts:
            own = shard.part(batch) if shard else batch
            images, mixed = changed(own), {}
            if self.augment is not None and self.augment.mixes:
                turned = torch.arange(batch.start, batch.stop).roll(1)
                others = changed(turned[own.start - batch.start : own.stop - batch.start])
                images = mix(images, others, {name: draw[own] for name, draw in draws.items()})
                share = own_share({name: draw[batch] for name, draw in draws.items()}, *images.shape[1:3])
                mixed = {"others": self._labels[on_device[turned]], "own_share": share}
            yield Batch(self._prepare(images), self._labels[on_device[batch]], on_device[batch], shard, **mixed)

    def _gather(
        self, rows: Int[Tensor, " batch"], on_device: Int[Tensor, " batch"]
    ) -> UInt8[Tensor, "batch height width 3"]:
        """Stored images on the device, given their rows on the host and on the device."""
        if isinstance(self._images, torch.Tensor):
            return self._images.index_select(0, on_device)
        pinned = self.device.type == "cuda"  # the copy from there runs beside the computation
        host = torch.empty((len(rows), *self._images.shape[1:]), dtype=torch.uint8, pin_memory=pinned)
        np.take(self._images, rows.numpy(), axis=0, out=host.numpy(), mode="clip")  # "raise" would make a copy
        return host.to(self.device, non_blocking=pinned)

    def _prepare(self, images: UInt8[Tensor, "batch height width 3"]) -> Float[Tensor, "batch 3 size size"]:
        size = self.view.size
        pixels = resize(images, size).reshape(len(images), size, size * 3)
        out = torch.empty(pixels.shape, device=self.device).copy_(pixels)
        torch.addcmul(self._shift, out, self._scale, out=out)
        return out.view(-1, size, size, 3).permute(0, 3, 1, 2)


def _place(arrays: Arrays, device: torch.device) -> Tensor | np.ndarray:
    """The images on a GPU if they fit; else as they are, to be gathered on the host."""
    size = arrays.images.nbytes
    if device.type == "cpu" or size > arrays.budget_mib * BYTES_PER_MIB:
        return arrays.images
    if device.type == "cuda" and size > DEVICE_FRACTION * torch.cuda.mem_get_info(device)[0]:
        return arrays.images
    return _upload(arrays.images, device)


def _upload(images: np.ndarray, device: torch.device) -> Tensor:
    """Copy piece by piece, so that mapped images are never all in the host's memory."""
    placed = torch.empty(images.shape, dtype=torch.uint8, device=device)
    step = max(1, UPLOAD_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        placed[start : start + step] = torch.tensor(images[start : start + step])
    return placed


def resize(images: UInt8[Tensor, "batch height width 3"], size: int) -> Tensor:
    """Bilinear with antialias, in grey levels: uint8 on the CPU, rounded floats on other devices.

    Equal within one grey level to torchvision's `resize` of the same uint8 tensor.
    """
    if tuple(images.shape[1:3]) == (size, size):
        return images
    channels_first = images.permute(0, 3, 1, 2)
    if images.device.type != "cpu":  # only the CPU has a uint8 kernel
        channels_first = channels_first.float()
    resized = F.interpolate(channels_first, size=(size, size), mode="bilinear", antialias=True)
    return (resized.round_() if resized.is_floating_point() else resized).permute(0, 2, 3, 1)


def _generator(seed: int, purpose: str, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(seed, purpose, number))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, shard: Any, rows: Any) -> Tensor:
        ctx.shard, ctx.rows = shard, rows
        sizes = shard.sizes(rows)
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return gradient[ctx.shard.part(slice(0, ctx.rows))] * ctx.shard.processes, None, None
