"""Criterion, allocation and masks together: a dense model becomes a masked one and one to train on, which agree."""

import itertools
import math

import pytest
import torch

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.measure import cost
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning import prune, sensitivity
from deepcompress.pruning.layers import in_scope
from deepcompress.pruning.prune import recalibrate_
from deepcompress.pruning.settings import GRANULARITY, Sensitivity
from tests.nets import VIEW, arrays, same, state, vgg
from tests.pruning.conftest import FIT, pruned, settings
from tests.pruning.test_allocations import NAMES

METHODS = ("unstructured", "structured")
CASES = [
    (method, criterion, allocation)
    for method, criterion, allocation in itertools.product(METHODS, params.plugins("pruning.criteria"), NAMES)
    if GRANULARITY[method] in params.plugin("pruning.criteria", criterion).GRANULARITIES
]


@pytest.mark.parametrize(("method", "criterion", "allocation"), CASES)
def test_every_combination_meets_the_target_and_leaves_the_dense_model_alone(method, criterion, allocation):
    model = vgg()
    found = pruned(model, method, 0.3, criterion=criterion, allocation=allocation)
    scope = "all" if method == "unstructured" else "conv"
    layers, overall = in_scope(found.masked, method, scope), found.table[-1]
    total = sum(layer.weight.numel() for layer in layers.values())
    gone = sum(int((layer.weight == 0).sum()) for layer in layers.values())
    within = 1 if method == "unstructured" else max(layer.weight[0].numel() for layer in layers.values())
    assert abs(gone - 0.3 * total) <= within
    assert [row["layer"] for row in found.table] == [*layers, "Overall"]
    assert (overall["pruned_weights"], overall["weights"]) == (gone, total)
    assert {(row["method"], row["scope"]) for row in found.table} == {(method, scope)}
    assert all(row["pruned_units"] < row["units"] for row in found.table)
    assert same(model.state_dict(), vgg().state_dict())


def test_a_layer_that_is_not_there_cannot_stay_whole():
    with pytest.raises(UserError, match=r"prune\.unstructured\.dense names 'classifier\.6'; the layers are features"):
        pruned(vgg(), "unstructured", 0.5, allocation="uniform", scope="conv", dense=("classifier.6",))


@pytest.mark.parametrize("round_to", [2, 4])
def test_channels_go_by_whole_steps_or_the_common_divisor_and_the_target_is_met_to_within_half_of_one(round_to):
    model = vgg(features=(6, 8, 16, 16, 16, 16, 24, 24))
    *layers, overall = pruned(model, "structured", 0.4, allocation="uniform", round_to=round_to).table
    assert {row["pruned_units"] % math.gcd(round_to, row["units"]) for row in layers} == {0}
    assert layers[0]["pruned_units"] == 2
    step = round_to * max(row["weights"] // row["units"] for row in layers)
    assert abs(overall["pruned_weights"] - 0.4 * overall["weights"]) <= step / 2


def test_a_step_stays_in_every_layer():
    model, way = vgg(features=(8,) * 8), {"allocation": "uniform", "round_to": 4}
    *layers, _ = pruned(model, "structured", 0.5, **way).table
    assert all(row["units"] - row["pruned_units"] == 4 for row in layers)
    with pytest.raises(UserError, match=r"out of reach: at most 0\.5 of .* keeps a weight or 4 filters"):
        pruned(model, "structured", 0.6, **way)


def test_what_a_sparsity_leaves_of_the_whole_network_is_said(caplog):
    with caplog.at_level("INFO"):
        pruned(vgg(features=(8,) * 8), "structured", 0.5, allocation="uniform")
    assert "structured: a sparsity of 0.5 of the 4248 weights in scope leaves " in caplog.text
    assert caplog.messages[0].endswith(" of all 4696")


@pytest.mark.parametrize("method", METHODS)
def test_sparsity_0_changes_nothing(method):
    made = pruned(vgg(), method, 0.0)
    assert all(same(vgg().state_dict(), other.state_dict()) for other in (made.masked, made.trained))
    assert made.hold is None


@pytest.mark.parametrize("method", METHODS)
def test_batch_norms_are_recalibrated_where_something_is_pruned(method):
    options, means = {"view": VIEW, "seed": 0, "curves": {}}, []
    for sparsity, images in ((0.4, 0), (0.4, 8), (0.0, 8)):
        how = settings(method, sparsity, allocation="uniform").model_copy(update={"recalibrate": images})
        means.append(prune.prune(vgg(), FIT, how, **options).trained.features[1].running_mean)
    assert not torch.equal(means[1], means[0])
    assert torch.equal(means[2], vgg().features[1].running_mean)


@pytest.mark.parametrize(("criterion", "passes"), [("l2_channel", 0), ("taylor", 2)])
def test_gradients_are_taken_only_for_a_criterion_that_needs_them(criterion, passes):
    model, seen = vgg(), []
    model.register_forward_hook(lambda module, given, answers: seen.append(len(answers)))
    assert pruned(model, "structured", criterion=criterion).table
    assert seen == [4] * passes  # 8 samples in batches of 4


def test_a_scan_reads_as_many_images_as_it_is_told():
    scan = Sensitivity(sparsities=(0.0, 0.5), samples=10, batch_size=4)
    rows = sensitivity.sensitivity(vgg(), FIT, "structured", scan, settings("structured"), view=VIEW, seed=0)
    assert {row["n"] for row in rows} == {10}
    assert {(row["method"], row["criterion"]) for row in rows} == {("structured", "l2_channel")}
    assert "classifier.6" not in {row["layer"] for row in rows}
    assert set(sensitivity.curves(rows)) == {row["layer"] for row in rows}
    assert Sensitivity(samples=5, batch_size=2).sparsities[-1] == 0.9


def test_tables_tell_of_all_three_states():
    model = vgg()
    tables = prune.tables(model, pruned(model, "structured"))
    assert set(tables) == {"allocation", "weights", "storage"}
    dense, masked, trained = tables["storage"]
    assert [row["state"] for row in tables["storage"]] == ["dense", "masked", "trained"]
    assert dense["parameters"] == masked["parameters"] == cost.parameters(model)["total"]
    assert dense["macs"] == masked["macs"] > trained["macs"]
    assert dense["dense_bytes"] == masked["dense_bytes"] > trained["dense_bytes"]
    assert dense["zero_mib"] == trained["zero_mib"] == 0 < masked["zero_mib"]
    for place in itertools.product(("dense", "masked", "trained"), prunable_layers(model)):
        rows = [row for row in tables["weights"] if (row["state"], row["layer"]) == place]
        assert sum(row["count"] for row in rows) + rows[0]["zeros"] == rows[0]["weights"]


def test_a_variant_of_the_sweep_overrides_the_shipped_model_and_says_what_it_used():
    how = settings("structured", 0.5)
    cell = how.override(method="unstructured", sparsity=0.0)
    assert (cell.method, cell.sparsity) == ("unstructured", 0.0)
    assert how.override(method=None, sparsity=None) == how
    assert set(cell.provenance_params()) == {"method", "sparsity", "unstructured", "scoring", "recalibrate", "finetune"}


def test_the_statistics_are_those_of_the_images_and_nothing_else_changes(monkeypatch):
    monkeypatch.setattr("deepcompress.pruning.prune.RECALIBRATION_BATCH", 8)
    model, images = vgg(), arrays(27)
    before = state(model)
    convolved = []
    hook = model.features[0].register_forward_hook(lambda *given: convolved.append(given[-1]))
    recalibrate_(model, images, 100, view=VIEW, seed=0)
    hook.remove()
    assert [len(maps) for maps in convolved] == [8, 8, 11]  # a short last batch would weigh as much as the others
    norm = model.features[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([maps.mean((0, 2, 3)) for maps in convolved]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([maps.var((0, 2, 3)) for maps in convolved]).mean(0))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if "running" in name}
    assert not model.training
    assert norm.momentum == 0.1


@pytest.mark.parametrize(("batch_norm", "samples", "passes"), [(True, 6, [6]), (True, 0, []), (False, 6, [])])
def test_so_many_images_are_drawn_as_asked_and_none_where_there_is_no_batch_norm(batch_norm, samples, passes):
    model, seen = vgg(batch_norm=batch_norm), []
    model.register_forward_hook(lambda module, given, answers: seen.append(len(answers)))
    before = state(model)
    recalibrate_(model, FIT.train, samples, view=VIEW, seed=0)
    assert seen == passes
    assert same(before, model.state_dict()) == (not passes)
