"""The batches that a recipe asks for; head-only training on stored features gives the weights of the plain loop."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from deepcompress import runtime
from deepcompress.training import inputs, loop
from deepcompress.training.loop import CrossEntropy


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path))


def test_only_a_recipe_that_changes_images_augments(data, recipe):
    assert data(recipe()).train.augment is None
    changed = data(recipe(augment={"flip": True}))
    assert changed.train.augment.flip
    assert changed.validation.augment is None


@pytest.fixture
def trained(network, data, fabric):
    """Train the head; gives the weights, the history, and how many images the first layer saw."""

    def make(recipe, *, cached: bool, fabric=fabric):
        model, batches, passed = network(), data(recipe), []
        model.features[0].register_forward_pre_hook(lambda layer, given: passed.append(len(given[0])))
        part = (model, batches)
        if cached:
            part = inputs.trainable_part(model, batches, recipe, fabric=fabric)
        record = loop.train(part[0], CrossEntropy(), part[1], recipe, fabric=fabric, seed=0)
        return model.state_dict(), record, sum(passed)

    return make


def test_cached_features_give_the_weights_of_the_plain_loop(trained, recipe):
    """Of a head on fixed features the loss is convex: last digits do not grow; Adam would divide by tiny gradients."""
    made = recipe(trainable="head", optimizer="sgd", feature_budget_mib=0, batch_size=24)
    plain, plain_record, plain_images = trained(made, cached=False)
    ours, record, images = trained(made, cached=True)
    for name, expected in plain.items():
        torch.testing.assert_close(ours[name], expected, atol=1e-5, rtol=1e-4, msg=name)
    assert [row.train_loss for row in record.epochs] == pytest.approx(
        [row.train_loss for row in plain_record.epochs], rel=1e-4
    )
    assert plain_images == 4 * (64 + 16)
    assert images == 64 + 16


def test_memory_and_file_give_the_same_bits(trained, recipe):
    (one, record, _), (other, again, _) = (
        trained(recipe(trainable="head", feature_budget_mib=budget), cached=True) for budget in (0, 512)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert record == again


def test_mixed_precision_gives_the_weights_of_the_plain_loop_too(trained, recipe, network):
    fabric = runtime.start(runtime.Train(device="cpu", precision="bf16-mixed"), 0)
    made = recipe(trainable="head", optimizer="sgd", feature_budget_mib=0)
    name = "classifier.6.weight"
    plain, ours = (trained(made, cached=cached, fabric=fabric)[0][name] for cached in (False, True))
    moved = (plain - network().state_dict()[name]).abs().max()
    assert (ours - plain).abs().max() < 0.1 * moved  # bf16 keeps 8 bits of a feature


@pytest.mark.parametrize(("budget", "place"), [(0, "in a file"), (1, "in memory")])
def test_the_budget_decides_and_no_file_stays(network, data, fabric, recipe, tmp_path, caplog, budget, place):
    made = recipe(trainable="head", feature_budget_mib=budget)
    with caplog.at_level(logging.INFO):
        _, features = inputs.trainable_part(network(), data(made), made, fabric=fabric)
    assert f"frozen layers: 64 images, 16 features each, 0.0 MiB {place}" in caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert features.train.features.shape == (64, 16)


def test_a_frozen_weight_that_is_made_on_the_way_in_is_made_once_per_pass(network, data, fabric, recipe, tmp_path):
    class Doubled(nn.Module):
        made = 0

        def forward(self, weight):
            self.made += 1
            return 2 * weight

    model, doubled = network(), Doubled()
    register_parametrization(model.features[0], "weight", doubled)
    made = recipe(trainable="head", batch_size=24)
    before = doubled.made
    inputs.trainable_part(model, data(made), made, fabric=fabric)
    assert doubled.made == before + 2  # training and validation images


@pytest.mark.parametrize("change", [{"trainable": "all"}, {"trainable": "head", "augment": {"flip": True}}])
def test_nothing_is_stored_when_all_trains_or_images_change(network, data, fabric, recipe, tmp_path, change):
    made, model = recipe(**change), network()
    batches = data(made)
    found = inputs.trainable_part(model, batches, made, fabric=fabric)
    assert found == (model, batches)
