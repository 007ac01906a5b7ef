"""Pruning: both methods beside the source report's, before and after fine-tuning; layers, weights, storage."""

import dataclasses

import pandas as pd
import pytest
import torch
from torch import nn

from deepcompress.measure import cost
from deepcompress.report import queries
from deepcompress.report.sections import prune
from deepcompress.report.tables import Tables
from tests.report.sections.looking import folded, pictures_of, tables_of

BINS = [(-3, -1, 1), (-1, 1, 2), (1, 3, 1)]  # variance 2


def test_each_model_stands_before_and_after_fine_tuning_beside_its_control(data: Tables) -> None:
    rows = {row[0]: row for row in tables_of(prune.prune(data))[0].rows}
    assert rows["pruned/unstructured-0.25"][1:5] == (
        "86.8 (84.6 to 88.8)", "87.4 (85.2 to 89.3)", "+0.1 (−1.0 to +1.2)", "−0.1 (−1.2 to +1.0)"
    )  # fmt: skip
    assert rows["pruned/structured-0.25"][4] == "–"


def test_a_sweep_without_the_source_report_s_sparsity_shows_its_curve_alone(data: Tables) -> None:
    without = dataclasses.replace(data, models=data.models[data.models["sparsity"] != queries.SPARSITY])
    section = prune.prune(without)
    assert section is not None
    assert "pruning_curve" in [picture.name for picture in pictures_of(section)]
    assert section.keys == ["sensitivity"]


def test_layers_are_named_as_the_source_report_names_them_only_where_they_match(data: Tables) -> None:
    shown = tables_of(folded(prune.prune(data), "sensitivity"))
    titles = [f"Sparsity per layer, {method} 25 %" for method in queries.METHODS]
    assert [table.folded for table in shown] == titles
    assert shown[0].rows[-1] == ("Overall", "94,400", "0.251", "0.250", "0.250")
    assert {row[-1] for row in shown[0].rows[:-1]} == {"–"}  # four layers are not its eleven


def test_each_way_to_store_zeros_has_its_bytes(data: Tables) -> None:
    (sizes,) = tables_of(folded(prune.prune(data), "pruned_storage"))
    assert [row[0] for row in sizes.rows][-2:] == ["structured, masked", "structured, removed, fine-tuned"]
    assert sizes.rows[0][1:5] == ("100 k", "94.4 k", "1 M", "0.38")


def histogram(*rows: tuple[str, int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["state", "low", "high", "count"]).assign(layer="features.0")


def test_the_layer_that_is_off_centre_is_named() -> None:
    centred = histogram(*(("dense", *bounds) for bounds in BINS))
    moved = centred.assign(layer="classifier.0", low=centred["low"] + 2, high=centred["high"] + 2)
    layer, distance = queries.furthest_from_zero(pd.concat([centred, moved], ignore_index=True))
    assert (layer, distance) == ("classifier.0", pytest.approx(2 / 2**0.5))


def test_how_many_weights_lie_near_zero_is_counted_and_not_guessed_from_outliers() -> None:
    """Ten weights that copy a channel make the deviation of ten thousand three times as large."""
    layer = nn.Linear(100, 101, bias=False)
    with torch.no_grad():
        layer.weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))[0, :10] = 10
    model = nn.Sequential(layer)
    borders = cost.edges(model)
    rows = pd.DataFrame(cost.histograms(model, borders)).assign(state="dense")
    inner = layer.weight.abs() < borders["0"][-1] * queries.INNER
    assert queries.near_zero_pct(rows, "dense") == pytest.approx(100 * inner.double().mean().item())
