"""Train the head alone: what the frozen layers give is computed once per image, not once per epoch.

Frozen layers run in evaluation mode, so that neither dropout nor batch statistics change and an image gives
the same features in every epoch. The head is then trained on these by the same loop, with weights that equal
those of the plain way. Random augmentation makes every epoch's images new ones: then nothing is stored.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn.utils.parametrize import cached
from tqdm import tqdm

from deepcompress import processes
from deepcompress.data.batches import Batch, Batches, Shard
from deepcompress.data.store import BYTES_PER_MIB, in_nameless_file
from deepcompress.measure.accuracy import evaluating
from deepcompress.models.vgg import prunable_layers
from deepcompress.training.inputs import TrainingData

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float
    from lightning_fabric import Fabric
    from torch import Tensor

    from deepcompress.training.recipe import Recipe

log = logging.getLogger(__name__)


def trainable_part(
    model: nn.Module, data: TrainingData, recipe: Recipe, *, fabric: Fabric, folder: Path
) -> tuple[nn.Module, TrainingData]:
    """What the loop has to run in each epoch, and its input.

    Args:
        model: Is moved to Fabric's device.
        data: Images.
        recipe: With `trainable: all`, or with random augmentation, model and data come back as they are.
        fabric: Gives device and precision.
        folder: Where features above the recipe's budget are put while this process runs.

    Returns:
        The head (it stays the model's own) and the features that it sees, in the order of the images.
    """
    if recipe.trainable == "all" or data.train.augment is not None:
        return model, data
    model.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    budget, stand_ins = recipe.feature_budget_mib * BYTES_PER_MIB, {}
    for name, batches in vars(data).items():
        features = _features(model, batches, fabric, budget, folder / f"{name}.features")
        stand_ins[name] = FeatureBatches(features, batches)
    return head(model), TrainingData(**cast("dict[str, Batches]", stand_ins))


def head(model: nn.Module) -> nn.Linear:
    """The last linear layer that runs."""
    return [layer for layer in prunable_layers(model).values() if isinstance(layer, nn.Linear)][-1]


def freeze_(model: nn.Module) -> None:
    """Stop the gradients of everything but the head."""
    trained = set(head(model).parameters())
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in trained)


class FeatureBatches:
    """Stands in for the Batches of the same images: same order, but features in place of pixels.

    Args:
        features: Row i belongs to image i; on the device or, when mapped from a file, on the CPU.
        source: The images.
    """

    def __init__(self, features: Float[Tensor, "images features"], source: Batches) -> None:
        self.features = features
        self.arrays, self.view, self.augment = source.arrays, source.view, None
        self.batch_size, self.device, self.size = source.batch_size, source.device, source.size
        self._order = source._order
        self._labels = torch.tensor(source.arrays.labels, device=source.device)

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.size // self.batch_size)

    def epoch(self, number: int = 0, shard: Shard | None = None) -> Iterator[Batch]:
        """All images once; of each batch the features of a shard alone."""
        for rows in self._order(number).split(self.batch_size):
            indices, own = rows.to(self.device), rows[shard.part(slice(0, len(rows)))] if shard else rows
            features = self.features.index_select(0, own.to(self.features.device)).to(self.device)
            yield Batch(features, self._labels[indices], indices, shard)


def _features(
    model: nn.Module, batches: Batches, fabric: Fabric, budget_bytes: int, path: Path
) -> Float[Tensor, "images features"]:
    """What the head of a model gets for every image, in stored order; above the budget mapped from a nameless file."""
    start = time.perf_counter()
    ordered = Batches(batches.arrays, batches.view, batch_size=batches.batch_size, device=batches.device)
    disable = None if processes.is_first() else True
    every_batch = ordered.epoch(0, Shard.own())
    epoch = tqdm(every_batch, total=len(ordered), desc="frozen layers", unit="batch", disable=disable)
    with evaluating(model), torch.no_grad(), fabric.autocast(), cached(), _head_inputs(model) as seen:
        chunks = _chunks(model, epoch, seen)
        first = next(chunks)
        shape = (batches.size, first.shape[1])
        in_memory = batches.size * first[0].nbytes <= budget_bytes
        every = itertools.chain([first], chunks)
        features = (
            _in_memory(every, first.new_empty(shape)) if in_memory else _in_a_file(every, shape, first.dtype, path)
        )
    place = "in memory" if in_memory else "in a file"
    took, size = time.perf_counter() - start, features.nbytes / BYTES_PER_MIB
    log.info("frozen layers: %d images, %d features each, %.1f MiB %s, %.1f s", *shape, size, place, took)
    return features


def _chunks(model: nn.Module, epoch: Iterable[Batch], seen: list[Tensor]) -> Iterator[Tensor]:
    for batch in epoch:
        model(batch.images)
        yield batch.whole(seen.pop())


@contextmanager
def _head_inputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """A list to which each forward pass of the model appends what its head gets."""
    seen: list[Tensor] = []
    hook = head(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()


def _in_memory(chunks: Iterator[Tensor], features: Tensor) -> Tensor:
    start = 0
    for chunk in chunks:
        features[start : start + len(chunk)] = chunk
        start += len(chunk)
    return features


def _in_a_file(chunks: Iterable[Tensor], shape: tuple[int, int], dtype: torch.dtype, path: Path) -> Tensor:
    """As bytes, since numpy has no bfloat16."""
    pieces = (chunk.cpu().contiguous().view(torch.uint8).numpy() for chunk in chunks)
    rows = in_nameless_file(pieces, (shape[0], shape[1] * dtype.itemsize), path)
    return torch.from_numpy(rows).view(dtype)
