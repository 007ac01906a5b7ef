"""A dense model becomes a masked one and one to train on, which agree; and the tables that tell of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from deepcompress import params
from deepcompress.data.batches import View
from deepcompress.data.store import Arrays, Fit, Meta
from deepcompress.measure import accuracy, cost
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning import prune, sensitivity
from deepcompress.pruning.layers import zero_share
from deepcompress.pruning.settings import Prune, Sensitivity
from tests.pruning.test_settings import PRUNE

VIEW = View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
SCAN = Sensitivity(sparsities=(0.0, 0.5), samples=10, batch_size=4)


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
    assert (found - expected).abs().max() <= 1e-5
    assert zero_share(pruned.masked) > 0.2
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_single_weights_stay_as_zeros_and_are_held(network):
    pruned = made(network(), settings("unstructured"))
    assert pruned.trained.spec == pruned.masked.spec
    hold = pruned.after_step()
    with torch.no_grad():
        for layer in prunable_layers(pruned.trained).values():
            layer.weight.add_(1.0)
    hold()
    assert zero_share(pruned.trained) == zero_share(pruned.masked)
    for one, other in zip(*(prunable_layers(model).values() for model in (pruned.trained, pruned.masked)), strict=True):
        assert torch.equal(one.weight == 0, other.weight == 0)


def test_channels_are_removed_and_nothing_needs_to_be_held(network):
    pruned = made(network(), settings("structured"))
    assert sum(pruned.trained.spec.features) < sum(pruned.masked.spec.features)
    assert pruned.after_step() is None
    assert zero_share(pruned.trained) == 0


@pytest.mark.parametrize("method", ["unstructured", "structured"])
def test_sparsity_0_changes_nothing(method, network):
    model = network()
    pruned = made(model, settings(method, sparsity=0.0))
    for other in (pruned.masked, pruned.trained):
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


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
    assert set(cell.provenance_params()) == {"method", "sparsity", "unstructured", "scoring", "finetune"}
