"""A tiny network, 64 random images, and Fabric on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from deepcompress import runtime
from deepcompress.data.batches import View
from deepcompress.data.store import Arrays, Fit, Meta
from deepcompress.models.spec import Model, asked
from deepcompress.models.vgg import VGG
from deepcompress.training import loop
from deepcompress.training.loop import CrossEntropy
from deepcompress.training.recipe import Recipe
from deepcompress.training.run import TrainingData, training_data

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from deepcompress.training.loop import Objective
    from deepcompress.training.recipe import History

CLASSES = ("ant", "bee", "cat")
VIEW = View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def random_arrays(images: int, number: int) -> Arrays:
    generator = np.random.default_rng(number)
    pixels = generator.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    return Arrays(pixels, np.arange(images, dtype=np.int64) % len(CLASSES))


@pytest.fixture(scope="session")
def fit() -> Fit:
    meta = Meta(CLASSES, 32, VIEW.mean, VIEW.std, {}, "random", "none")
    return Fit(random_arrays(64, 0), random_arrays(16, 1), meta)


@pytest.fixture
def fabric() -> Fabric:
    return runtime.start(runtime.Train(device="cpu", precision="32-true"), 0)


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """A recipe of four epochs of four steps; keywords change it."""

    def make(**changes: Any) -> Recipe:
        rule = {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05, "schedule": "one_cycle"}
        return Recipe(**{"trainable": "all", "epochs": 4, "batch_size": 16, **rule, **changes})

    return make


@pytest.fixture
def network() -> Callable[[], VGG]:
    """A VGG-11 with batch norm and dropout, a sixteenth wide; the same weights at every call."""

    def make() -> VGG:
        section = Model(
            arch="vgg11", batch_norm=True, width=1 / 16, hidden=256, dropout=0.5, image_size=32, weights=None
        )
        torch.manual_seed(0)
        return VGG(asked(section, len(CLASSES)))

    return make


@pytest.fixture
def data(fit: Fit) -> Callable[..., TrainingData]:
    """The batches that a recipe asks for."""
    return lambda recipe, **more: training_data(fit, VIEW, recipe, device="cpu", seed=0, **more)


@pytest.fixture
def run(network, data, fabric):
    """Train a fresh tiny network; gives its weights and the history."""

    def make(recipe: Recipe, objective: Objective | None = None, **options) -> tuple[dict, History]:
        model = network()
        record = loop.train(model, objective or CrossEntropy(), data(recipe), recipe, fabric=fabric, seed=3, **options)
        return model.state_dict(), record

    return make
