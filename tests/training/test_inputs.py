"""The batches that a recipe asks for."""

from __future__ import annotations

import torch

from tests.training.conftest import VIEW


def test_training_images_are_shuffled_and_validation_images_are_in_order(data, recipe):
    made = data(recipe())
    orders = [torch.cat([batch.indices for batch in made.train.epoch(number)]) for number in (0, 1)]
    assert not torch.equal(*orders)
    assert all(torch.equal(order.sort().values, torch.arange(64)) for order in orders)
    assert torch.equal(torch.cat([batch.indices for batch in made.validation.epoch(1)]), torch.arange(16))
    assert made.train.view == made.validation.view == VIEW


def test_only_a_recipe_that_changes_images_augments(data, recipe):
    assert data(recipe()).train.augment is None
    changed = data(recipe(augment={"flip": True}))
    assert changed.train.augment.flip
    assert changed.validation.augment is None
