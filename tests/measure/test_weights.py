"""Histograms of weights: every weight is counted once, zeros apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepcompress.measure import weights


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        made[2].weight.view(-1)[:10] = 0
        made[0].weight.view(-1)[0] = 100.0
    return made


def test_every_weight_is_in_a_bin_or_among_the_zeros(model: nn.Module) -> None:
    rows = weights.histograms(model, weights.edges(model))
    for name in ("0", "2"):
        of_layer = [row for row in rows if row["layer"] == name]
        assert len(of_layer) == weights.BINS
        assert sum(row["count"] for row in of_layer) + of_layer[0]["zeros"] == of_layer[0]["weights"]
    assert {row["zeros"] for row in rows if row["layer"] == "2"} == {10}


def test_an_outlier_does_not_widen_the_bins_and_is_counted_in_the_last(model: nn.Module) -> None:
    border = weights.edges(model)["0"]
    assert border[-1] < 1
    assert border[0] == -border[-1]
    rows = [row for row in weights.histograms(model, {**weights.edges(model), "0": border}) if row["layer"] == "0"]
    values = model[0].weight.detach().flatten()
    assert rows[-1]["count"] == int((values >= border[-2]).sum())


def test_a_layer_of_zeros_has_bins_all_the_same() -> None:
    layer = nn.Sequential(nn.Linear(4, 4))
    nn.init.zeros_(layer[0].weight)
    rows = weights.histograms(layer, weights.edges(layer))
    assert sum(row["count"] for row in rows) == 0
    assert rows[0]["zeros"] == 16
