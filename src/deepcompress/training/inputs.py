"""The images that a training sees: shuffled ones to learn from, and others in order to choose on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from deepcompress.data.augment import Augment
from deepcompress.data.batches import Batches
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from deepcompress.data.batches import View
    from deepcompress.data.store import Fit
    from deepcompress.training.recipe import Recipe


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
