"""What a training sees: shuffled images to learn from and others to choose on; or features of them, computed once.

Where the head alone trains, the frozen layers run in evaluation mode, so that neither dropout nor batch statistics
change and an image gives the same features in every epoch. They are computed once per image, not once per epoch, and
the head is trained on them by the same loop, with weights that equal those of the plain way. Random augmentation makes
every epoch's images new ones: then nothing is stored.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn.utils.parametrize import cached
from tqdm import tqdm

from deepcompress import processes
from deepcompress.data.augment import Augment
from deepcompress.data.batches import Batch, Batches, Shard
from deepcompress.data.store import BYTES_PER_MIB, collected
from deepcompress.measure.accuracy import evaluating
from deepcompress.models.vgg import prunable_layers
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float
    from lightning_fabric import Fabric
    from torch import Tensor

    from deepcompress.data.batches import View
    from deepcompress.data.store import Fit
    from deepcompress.training.recipe import Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Batches on the device that trains.

    Attributes:
        train: Shuffled anew in each epoch, augmented if the recipe says so.
        validation: In the stored order, unchanged.
    """

    train: Batches
    validation: Batches


def training_data(fit: Fit, view: View, recipe: Recipe, *, device: torch.device | str, seed: int) -> TrainingData:
    """The training and validation images of data/fit as a recipe wants them.

    Args:
        fit: Stored images.
        view: How they become the network's input.
        recipe: Names the batch size and the random changes.
        device: Where batches are made.
        seed: Decides order and random changes.
    """
    return TrainingData(
        train=Batches(
            fit.train,
            view,
            batch_size=recipe.batch_size,
            device=device,
            seed=derived_seed(seed, "training images"),
            augment=None if recipe.augment == Augment() else recipe.augment,
            least=min(2, recipe.batch_size),  # batch norm may not learn from a single image
        ),
        validation=Batches(fit.validation, view, batch_size=recipe.batch_size, device=device),
    )


def trainable_part(
    model: nn.Module, data: TrainingData, recipe: Recipe, *, fabric: Fabric
) -> tuple[nn.Module, TrainingData]:
    """What the loop has to run in each epoch, and its input.

    Args:
        model: Is moved to Fabric's device.
        data: Images.
        recipe: With `trainable: all`, or with random augmentation, model and data come back as they are. Features above
            its budget are put into a nameless file in scratch while this process runs.
        fabric: Gives device and precision.

    Returns:
        The head (it stays the model's own) and the features that it sees, in the order of the images.
    """
    if recipe.trainable == "all" or data.train.augment is not None:
        return model, data
    model.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    train, validation = (
        FeatureBatches(_features(model, batches, fabric, recipe.feature_budget_mib), batches)
        for batches in (data.train, data.validation)
    )
    return head(model), TrainingData(cast("Batches", train), cast("Batches", validation))


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


def _features(model: nn.Module, batches: Batches, fabric: Fabric, budget_mib: int) -> Float[Tensor, "images features"]:
    """What the head of a model gets for every image, in stored order: on the device, or above the budget mapped."""
    start = time.perf_counter()
    seen: list[Tensor] = []
    hook = head(model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with hook, evaluating(model), torch.no_grad(), fabric.autocast(), cached():
        chunks = _chunks(model, batches, seen)
        first = next(chunks)
        size = first.shape[1]
        # As bytes, since numpy has no bfloat16.
        pieces = (part.cpu().contiguous().view(torch.uint8).numpy() for part in itertools.chain([first], chunks))
        rows = collected(pieces, (batches.size, size * first.itemsize), budget_mib, "features")
    features = torch.from_numpy(rows).view(first.dtype)
    in_memory = features.nbytes <= budget_mib * BYTES_PER_MIB
    took, mib = time.perf_counter() - start, features.nbytes / BYTES_PER_MIB
    place = "in memory" if in_memory else "in a file"
    log.info("frozen layers: %d images, %d features each, %.1f MiB %s, %.1f s", batches.size, size, mib, place, took)
    return features.to(batches.device) if in_memory else features


def _chunks(model: nn.Module, batches: Batches, seen: list[Tensor]) -> Iterator[Tensor]:
    ordered = Batches(batches.arrays, batches.view, batch_size=batches.batch_size, device=batches.device)
    disable = None if processes.is_first() else True
    epoch = ordered.epoch(0, Shard.own())
    for batch in tqdm(epoch, total=len(ordered), desc="frozen layers", unit="batch", disable=disable):
        model(batch.images)
        yield batch.whole(seen.pop())
