"""A short training on 64 random images, and a stop at one of its steps."""

from typing import Any

import pytest

from deepcompress.training import loop
from deepcompress.training.loop import CrossEntropy, Objective
from deepcompress.training.recipe import History, Recipe
from deepcompress.training.run import TrainingData, training_data
from tests.nets import RECIPE, VIEW, fit, vgg


class StoppedError(Exception):
    """Stands for a kill."""


class Count:
    """Counts its calls, and raises at one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.calls, self.last = 0, last

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.last:
            raise StoppedError


def recipe(**changes: Any) -> Recipe:
    """Four epochs of four steps; keywords change it."""
    return Recipe(**RECIPE | {"epochs": 4} | changes)


def data(recipe: Recipe) -> TrainingData:
    """The batches that a recipe asks for."""
    return training_data(fit(64, 15), VIEW, recipe, device="cpu", seed=0)


@pytest.fixture
def run(fabric):
    """Train a fresh tiny network; gives its weights and the history."""

    def make(recipe: Recipe, objective: Objective | None = None, **options) -> tuple[dict, History]:
        model, options = vgg(), {"fabric": fabric, "seed": 3, **options}
        record = loop.train(model, objective or CrossEntropy(), data(recipe), recipe, **options)
        return model.state_dict(), record

    return make
