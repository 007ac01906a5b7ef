"""Criterion, allocation and masks together, on a real network."""

from __future__ import annotations

import itertools

import pytest
import torch

from deepcompress import registry
from deepcompress.errors import UserError
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning import masks
from deepcompress.pruning.layers import GRANULARITY, in_scope, zero_share
from deepcompress.pruning.masks import remove_channels
from deepcompress.pruning.prune import choose
from deepcompress.pruning.scoring import batch_gradients
from deepcompress.pruning.settings import Channels, MethodConfig

CRITERIA = registry.names("pruning.criteria")
CASES = [
    (method, criterion, allocation)
    for method, criterion, allocation in itertools.product(
        ("unstructured", "structured"), CRITERIA, registry.names("pruning.allocations")
    )
    if GRANULARITY[method] in registry.find("pruning.criteria", criterion).GRANULARITIES
]
GRID = tuple(tenth / 10 for tenth in range(10))


def chosen(model, batches, method, way, sparsity):
    layers = in_scope(model, method, way.scope)
    curves = {name: (GRID, [80 - 10 * s * place for s in GRID]) for place, name in enumerate(prunable_layers(model))}
    gradients = batch_gradients(model, layers, batches.epoch(0))
    return choose(model, method, way, sparsity, seed=0, curves=curves, gradients=gradients)


@pytest.mark.parametrize("scope", ["all", "conv"])
@pytest.mark.parametrize(("method", "criterion", "allocation"), CASES)
def test_every_combination_meets_the_target(method, criterion, allocation, scope, network, make_batches):
    model = network()
    way = MethodConfig(criterion=criterion, allocation=allocation, scope=scope)
    choice = chosen(model, make_batches(images=4), method, way, 0.3)
    layers = in_scope(model, method, scope)
    total = sum(layer.weight.numel() for layer in layers.values())
    masks.apply_(model, choice.masks)
    gone = sum(int((layer.weight == 0).sum()) for layer in layers.values())
    within = 1 if method == "unstructured" else max(layer.weight[0].numel() for layer in layers.values())
    assert abs(gone - 0.3 * total) <= within
    assert [row["layer"] for row in choice.table] == [*layers, "Overall"]
    assert choice.table[-1]["pruned_weights"] == gone
    assert choice.table[-1]["weights"] == total
    assert {(row["method"], row["scope"]) for row in choice.table} == {(method, scope)}
    assert all(row["pruned_units"] < row["units"] for row in choice.table)


def test_choosing_changes_nothing_and_channels_then_come_out(network, make_batches):
    model, batches = network(), make_batches()
    way = MethodConfig(criterion="l2_channel", allocation="uniform", scope="all")
    choice = chosen(model, batches, "structured", way, 0.5)
    assert zero_share(model) == 0
    smaller = remove_channels(model, masks.kept_channels(model, choice.masks))
    masks.apply_(model, choice.masks)
    images = next(batches.epoch(0)).images
    with torch.no_grad():
        assert (model(images) - smaller(images)).abs().max() < 1e-5


def test_sparsity_zero_masks_nothing(network, make_batches):
    way = MethodConfig(criterion="l1", allocation="by_sensitivity", scope="all")
    choice = chosen(network(), make_batches(), "unstructured", way, 0.0)
    assert choice.masks == {}
    assert choice.table[-1]["achieved_sparsity"] == 0


def test_dense_layers_stay_whole_and_count_in_the_denominator(network, make_batches):
    model = network()
    way = MethodConfig(criterion="l1", allocation="uniform", scope="all", dense=("features.0", "classifier.6"))
    choice = chosen(model, make_batches(), "unstructured", way, 0.5)
    assert not {"features.0.weight", "classifier.6.weight"} & set(choice.masks)
    assert choice.table[-1]["weights"] == sum(layer.weight.numel() for layer in prunable_layers(model).values())
    assert choice.table[-1]["achieved_sparsity"] == pytest.approx(0.5, abs=1e-3)


def test_bad_names_and_targets_are_one_line(network, make_batches):
    model, batches = network(), make_batches()
    way = MethodConfig(criterion="l1", allocation="uniform", scope="conv", dense=("classifier.6",))
    with pytest.raises(UserError, match=r"prune\.unstructured\.dense names 'classifier\.6'; the layers are features"):
        chosen(model, batches, "unstructured", way, 0.5)
    way = MethodConfig(criterion="l2_channel", allocation="uniform", scope="conv")
    with pytest.raises(UserError, match=r"out of reach: at most 0\.89\d* of the \d+ weights in scope"):
        chosen(model, batches, "structured", way, 0.95)


@pytest.mark.parametrize("round_to", [2, 4])
def test_channels_go_by_whole_steps_and_the_target_is_met_to_within_half_of_one(round_to, network, make_batches):
    widths = (8, 8, 16, 16, 16, 16, 24, 24)
    way = Channels(criterion="l2_channel", allocation="uniform", scope="conv", round_to=round_to)
    choice = chosen(network(features=widths), make_batches(), "structured", way, 0.4)
    layers, overall = choice.table[:-1], choice.table[-1]
    assert {row["pruned_units"] % round_to for row in layers} == {0}
    assert any(row["pruned_units"] for row in layers)
    step = round_to * max(row["weights"] // row["units"] for row in layers)
    assert abs(overall["pruned_weights"] - 0.4 * overall["weights"]) <= step / 2


def test_a_width_that_is_no_multiple_goes_by_the_common_divisor(network, make_batches):
    way = Channels(criterion="l2_channel", allocation="uniform", scope="conv", round_to=4)
    choice = chosen(network(), make_batches(), "structured", way, 0.5)
    rows = {row["units"]: row["pruned_units"] for row in choice.table[:-1]}
    assert rows[6] % 2 == 0
    assert rows[8] % 4 == 0


def test_a_step_stays_in_every_layer(network, make_batches):
    way = Channels(criterion="l2_channel", allocation="uniform", scope="conv", round_to=4)
    choice = chosen(network(features=(8,) * 8), make_batches(), "structured", way, 0.5)
    assert all(row["units"] - row["pruned_units"] == 4 for row in choice.table[:-1])
    with pytest.raises(UserError, match=r"out of reach: at most 0\.5 of .* keeps a weight or 4 filters"):
        chosen(network(features=(8,) * 8), make_batches(), "structured", way, 0.6)
