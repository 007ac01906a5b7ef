"""The scan against the plain loop: a full pass with masked weights per layer and sparsity."""

import copy
import math

import pytest
import torch

from deepcompress.measure import accuracy
from deepcompress.pruning import masks, sensitivity
from deepcompress.pruning.layers import in_scope
from deepcompress.pruning.sensitivity import curves, scan
from deepcompress.pruning.settings import Sensitivity
from tests import nets
from tests.nets import VIEW, vgg
from tests.pruning.conftest import FIT, scored, settings

SPARSITIES = (0.0, 0.1, 0.3, 0.5, 0.9)
METHODS = {"unstructured": ("l1", "weight"), "structured": ("l2_channel", "channel")}


def plain_loop(model, batches, scores, method, sparsities=SPARSITIES, recalibrate=False):
    rows = []
    for name, values in scores.items():
        for sparsity in sparsities:
            count = min(round(sparsity * values.numel()), values.numel() - 1)
            pruned = copy.deepcopy(model)
            kept = {name: masks.kept(values, count)}
            masks.apply_(pruned, masks.parameter_masks(pruned, METHODS[method][1], kept))
            if recalibrate:  # on the batch itself; there is but one
                logits, labels = with_own_statistics(pruned, batches)
            else:
                logits, labels = accuracy.logits(pruned, batches)
            right = int(accuracy.top_k_correct(logits, labels).sum())
            rows.append((name, sparsity, count, right, accuracy.cross_entropy(logits, labels)))
    return rows


def with_own_statistics(model, batches):
    (batch,) = batches.epoch(0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
    with torch.no_grad():
        return model(batch.images), batch.labels


def scanned(model, batches, method, sparsities=SPARSITIES, **options):
    criterion, granularity = METHODS[method]
    scores = scored(model, method, criterion)
    return scan(model, batches, scores, sparsities, granularity=granularity, **options), scores


def require_equal(rows, plain):
    assert [(r["layer"], r["sparsity"], r["pruned_units"], r["right"]) for r in rows] == [row[:4] for row in plain]
    assert [row["loss"] for row in rows] == pytest.approx([row[4] for row in plain], rel=1e-5)


@pytest.mark.parametrize(("image_size", "batch_norm"), [(32, True), (64, False)])
@pytest.mark.parametrize("method", METHODS)
def test_the_scan_equals_the_plain_loop(method, image_size, batch_norm, monkeypatch):
    monkeypatch.setattr(sensitivity, "CHUNK_BYTES", 2 * 4 * image_size**2 * 4)  # so that images pass two by two
    model, batches = vgg(batch_norm=batch_norm, image_size=image_size), nets.batches(12, 5, side=image_size)
    rows, scores = scanned(model, batches, method)
    require_equal(rows, plain_loop(model, batches, scores, method))


@pytest.mark.parametrize("method", METHODS)
def test_a_scan_with_statistics_of_the_batch_equals_the_plain_loop_and_touches_nothing(method):
    model, batches = vgg().train(), nets.batches(12, 12)
    before = nets.state(model)
    rows, scores = scanned(model, batches, method, recalibrate=True)
    assert nets.same(before, model.state_dict())
    assert model.training
    plain = plain_loop(model.eval(), batches, scores, method, recalibrate=True)
    assert [row["loss"] for row in rows] == pytest.approx([row[4] for row in plain], rel=1e-4)
    assert [row["loss"] for row in rows] != pytest.approx([row["loss"] for row in scanned(model, batches, method)[0]])


def test_standard_errors_are_those_of_a_share_and_of_a_mean():
    model, batches = vgg(), nets.batches(12, 5)
    row = scanned(model, batches, "structured")[0][0]
    share = row["right"] / row["n"]
    assert row["n"] == 12
    assert row["top1_pct"] == pytest.approx(100 * share)
    assert row["top1_se_pct"] == pytest.approx(100 * math.sqrt(share * (1 - share) / 12))
    logits, labels = accuracy.logits(model, batches)
    losses = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    assert row["loss_se"] == pytest.approx(losses.std(correction=0).item() / math.sqrt(12), rel=1e-5)


def test_curves_are_in_achieved_sparsity_and_skip_repetitions():
    rows, _ = scanned(vgg(), nets.batches(12, 5), "structured", (0.0, 0.1, 0.5, 0.95, 0.99))
    sparsities, top1 = curves(rows)["features.0"]
    assert sparsities == [0, 0.5, 0.75]
    assert top1 == [rows[0]["top1_pct"], rows[2]["top1_pct"], rows[3]["top1_pct"]]


@pytest.mark.parametrize("method", METHODS)
def test_the_scan_of_tied_layers_equals_the_plain_loop(method):
    model, data = nets.network("mobilenet_v2"), nets.batches(images=4, batch_size=3)
    scores = scored(model, method, "random", [*in_scope(model, method, "all")][:4])
    rows = scan(model, data, scores, (0.0, 0.6), granularity=METHODS[method][1])
    require_equal(rows, plain_loop(model, data, scores, method, (0.0, 0.6)))


@pytest.mark.parametrize("criterion", ["bn_scale", "taylor"])
def test_of_a_network_that_can_lose_no_channels_there_are_no_rows(criterion):
    scan_settings, prune = Sensitivity(samples=8, batch_size=4), settings("structured", criterion=criterion)
    model = nets.network("tests.odd_nets:Recurrent")
    assert sensitivity.sensitivity(model, FIT, "structured", scan_settings, prune, view=VIEW, seed=0) == []
