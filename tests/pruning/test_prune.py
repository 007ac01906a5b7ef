"""Criterion, allocation and masks together: a dense model becomes a masked one and one to train on, which agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from deepcompress import params
from deepcompress.data.batches import View
from deepcompress.data.store import Arrays, Fit, Meta
from deepcompress.errors import UserError
from deepcompress.measure import accuracy, cost
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning import masks, prune, sensitivity
from deepcompress.pruning.layers import GRANULARITY, in_scope, zero_share
from deepcompress.pruning.masks import batch_gradients
from deepcompress.pruning.prune import choose, recalibrate_
from deepcompress.pruning.settings import Channels, MethodConfig, Prune, Sensitivity
from tests.nets import assert_equal_outputs
from tests.pruning.test_allocations import NAMES
from tests.pruning.test_settings import PRUNE

CASES = [
    (method, criterion, allocation)
    for method, criterion, allocation in itertools.product(
        ("unstructured", "structured"), params.plugins("pruning.criteria"), NAMES
    )
    if GRANULARITY[method] in params.plugin("pruning.criteria", criterion).GRANULARITIES
]
GRID = tuple(tenth / 10 for tenth in range(10))
VIEW = View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
SCAN = Sensitivity(sparsities=(0.0, 0.5), samples=10, batch_size=4)


def chosen(model, batches, method, way, sparsity):
    layers = in_scope(model, method, way.scope)
    curves = {name: (GRID, [80 - 10 * s * place for s in GRID]) for place, name in enumerate(prunable_layers(model))}
    gradients = batch_gradients(model, layers, batches.epoch(0))
    return choose(model, method, way, sparsity, seed=0, curves=curves, gradients=gradients)


@pytest.mark.parametrize(("method", "criterion", "allocation"), CASES)
def test_every_combination_meets_the_target(method, criterion, allocation, network, make_batches):
    model, scope = network(), "all" if method == "unstructured" else "conv"
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


def random_arrays(images: int, number: int) -> Arrays:
    generator = np.random.default_rng(number)
    pixels = generator.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    return Arrays(pixels, generator.integers(0, 4, images))


FIT = Fit(
    random_arrays(24, 0), random_arrays(16, 1), Meta(tuple("abcd"), 32, VIEW.mean, VIEW.std, {}, "random", "none")
)


def settings(method: str, sparsity: float = 0.4, **ways: str) -> Prune:
    block = {**PRUNE, "method": method, "sparsity": sparsity}
    block[method] = {**PRUNE[method], **ways}
    return params.validate(Prune, block, "prune")


def made(model, how: Prune) -> prune.Pruned:
    rows = sensitivity.sensitivity(model, FIT, how.method, SCAN, how, view=VIEW, seed=0)
    return prune.prune(model, FIT, how, view=VIEW, seed=0, curves=sensitivity.curves(rows))


@pytest.mark.parametrize("method", ["unstructured", "structured"])
def test_the_masked_and_the_trained_model_agree_and_the_dense_one_is_untouched(method, network, make_batches):
    model, before = network(), network().state_dict()
    pruned = made(model, settings(method))
    expected, _ = accuracy.logits(pruned.masked, make_batches())
    found, _ = accuracy.logits(pruned.trained, make_batches())
    assert_equal_outputs(found, expected)
    assert zero_share(pruned.masked) > 0.2
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_single_weights_stay_as_zeros_and_are_held(network):
    pruned = made(network(), settings("unstructured"))
    assert pruned.trained.spec == pruned.masked.spec
    with torch.no_grad():
        for layer in prunable_layers(pruned.trained).values():
            layer.weight.add_(1.0)
    pruned.hold()
    assert zero_share(pruned.trained) == zero_share(pruned.masked)
    for one, other in zip(*(prunable_layers(model).values() for model in (pruned.trained, pruned.masked)), strict=True):
        assert torch.equal(one.weight == 0, other.weight == 0)


def test_single_weights_of_a_model_that_lost_channels_may_go_and_nothing_else_twice(network):
    narrow = made(network(), settings("structured")).trained
    assert prune.require_source(narrow, "unstructured", "m") is narrow
    with pytest.raises(UserError, match="m: channels are already removed"):
        prune.require_source(narrow, "structured", "m")
    sparse = made(network(), settings("unstructured")).trained
    for method in ("unstructured", "structured"):
        with pytest.raises(UserError, match="m: already pruned"):
            prune.require_source(sparse, method, "m")


def test_channels_are_removed_and_nothing_needs_to_be_held(network):
    pruned = made(network(), settings("structured"))
    assert sum(pruned.trained.spec.features) < sum(pruned.masked.spec.features)
    assert pruned.hold is None
    assert zero_share(pruned.trained) == 0


@pytest.mark.parametrize("method", ["unstructured", "structured"])
def test_sparsity_0_changes_nothing(method, network):
    model = network()
    pruned = made(model, settings(method, sparsity=0.0))
    for other in (pruned.masked, pruned.trained):
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("method", ["unstructured", "structured"])
def test_batch_norms_are_recalibrated_where_something_is_pruned(method, network):
    model, how = network(), settings(method).model_copy(update={"recalibrate": 8})
    plain, found = made(model, settings(method)), made(model, how)
    assert not torch.equal(found.trained.features[1].running_mean, plain.trained.features[1].running_mean)
    nothing = made(model, how.override(sparsity=0.0))
    assert torch.equal(nothing.masked.features[1].running_mean, model.features[1].running_mean)


def test_gradients_are_taken_only_for_a_criterion_that_needs_them(network):
    model = network()
    layers = prunable_layers(model)
    scoring = settings("structured").scoring
    assert sensitivity.gradients("l1", model, layers, FIT, scoring, view=VIEW, seed=0) is None
    found = list(sensitivity.gradients("taylor", model, layers, FIT, scoring, view=VIEW, seed=0))
    assert len(found) == 2  # 8 samples in batches of 4
    assert made(model, settings("structured", criterion="taylor")).table


def test_a_scan_reads_as_many_images_as_it_is_told(network):
    how = settings("structured")
    rows = sensitivity.sensitivity(network(), FIT, "structured", SCAN, how, view=VIEW, seed=0)
    assert {row["n"] for row in rows} == {10}
    assert {(row["method"], row["criterion"]) for row in rows} == {("structured", "l2_channel")}
    assert "classifier.6" not in {row["layer"] for row in rows}


def test_tables_tell_of_all_three_states(network):
    model = network()
    pruned = made(model, settings("structured"))
    tables = prune.tables(model, pruned)
    assert set(tables) == {"allocation", "weights", "storage"}
    dense, masked, trained = tables["storage"]
    assert [row["state"] for row in tables["storage"]] == ["dense", "masked", "trained"]
    assert dense["parameters"] == masked["parameters"] == cost.parameters(model)["total"]
    assert dense["macs"] == masked["macs"] > trained["macs"]
    assert dense["dense_bytes"] == masked["dense_bytes"] > trained["dense_bytes"]
    assert dense["zero_mib"] == trained["zero_mib"] == 0 < masked["zero_mib"]
    for state, layer in itertools.product(("dense", "masked", "trained"), prunable_layers(model)):
        rows = [row for row in tables["weights"] if (row["state"], row["layer"]) == (state, layer)]
        assert sum(row["count"] for row in rows) + rows[0]["zeros"] == rows[0]["weights"]


def test_a_variant_of_the_sweep_overrides_the_shipped_model_and_says_what_it_used():
    how = settings("structured", 0.5)
    cell = how.override(method="unstructured", sparsity=0.0)
    assert (cell.method, cell.sparsity) == ("unstructured", 0.0)
    assert how.override(method=None, sparsity=None) == how
    assert set(cell.provenance_params()) == {"method", "sparsity", "unstructured", "scoring", "recalibrate", "finetune"}


def test_the_statistics_are_those_of_the_images_and_nothing_else_changes(network, monkeypatch):
    monkeypatch.setattr("deepcompress.pruning.prune.RECALIBRATION_BATCH", 8)
    model, images = network(), random_arrays(25, 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    convolved = []
    hook = model.features[0].register_forward_hook(lambda *given: convolved.append(given[-1]))
    recalibrate_(model, images, 100, view=VIEW, seed=0)
    hook.remove()
    assert [len(maps) for maps in convolved] == [8, 8, 9]  # a last batch of one image is part of the one before
    norm = model.features[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([maps.mean((0, 2, 3)) for maps in convolved]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([maps.var((0, 2, 3)) for maps in convolved]).mean(0))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if "running" in name}
    assert not model.training
    assert norm.momentum == 0.1


def test_so_many_images_are_drawn_as_asked_and_none_for_zero(network):
    model, images, seen = network(), random_arrays(24, 0), []
    model.register_forward_hook(lambda module, given, answers: seen.append(len(answers)))
    before = model.features[1].running_mean.clone()
    recalibrate_(model, images, 0, view=VIEW, seed=0)
    assert seen == []
    assert torch.equal(before, model.features[1].running_mean)
    recalibrate_(model, images, 6, view=VIEW, seed=0)
    assert seen == [6]


def test_a_network_without_batch_norm_is_left_alone(network):
    model = network(batch_norm=False)
    model.register_forward_hook(lambda *_: pytest.fail("a forward pass for nothing"))
    recalibrate_(model, random_arrays(24, 0), 8, view=VIEW, seed=0)
