"""Pruning: both methods beside the source report's, before and after fine-tuning; layers, weights, storage."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from deepcompress.report import queries
from deepcompress.report.sections import pruned
from deepcompress.report.tables import Tables
from tests.report.sections.looking import pictures_of, tables_of, text_of

BINS = [(-3, -1, 1), (-1, 1, 2), (1, 3, 1)]  # variance 2, so that only the middle bin is near zero


def test_the_source_report_s_pruned_models_stand_beside_ours(data: Tables) -> None:
    rows = tables_of(pruned.pruned(data))[3].rows
    assert [(row[0], row[4]) for row in rows] == [("structured-0.25", "26.4"), ("unstructured-0.25", "42.9")]


def test_accuracy_before_and_after_fine_tuning_stands_beside_the_source_report_s(data: Tables) -> None:
    first, second = tables_of(pruned.pruned(data))[1].rows
    assert first[:3] == ("unstructured", "42.9", "70.4")
    assert second[:3] == ("structured", "26.4", "43.2")
    assert first[3].startswith("86.8 (")
    assert first[5].startswith("87.4 (")
    assert first[-1] == "−0.1 (−0.9 to +1.3)"
    assert second[-1] == "–"


def test_a_sweep_without_the_source_report_s_sparsity_shows_its_curve_alone(data: Tables) -> None:
    without = dataclasses.replace(data, models=data.models[data.models["sparsity"] != queries.SPARSITY])
    names = [picture.name for picture in pictures_of(pruned.pruned(without))]
    assert names == ["pruning_curve", "pruned_differences"]
    assert pruned.storage(without) is None


def test_layers_are_named_as_the_source_report_names_them_only_where_they_match(data: Tables) -> None:
    folded = [table for table in tables_of(pruned.sensitivity(data)) if table.folded]
    titles = [f"Sparsity per layer, {method} 25 %" for method in queries.METHODS]
    assert [table.folded for table in folded] == titles
    assert folded[0].rows[-1] == ("Overall", "94,400", "0.251", "0.250", "0.250")


def test_what_pruning_saves_is_told_in_measured_numbers(data: Tables) -> None:
    section = pruned.storage(data)
    assert text_of(section)[0].startswith("At 25 % unstructured a bitmask takes 74 % of the dense bytes and CSR 142 %")
    sizes, accounting, aspects = tables_of(section)
    assert len(sizes.rows) == 5
    assert accounting.rows[0][1:4] == ("492.73", "0.00", "492.73")
    assert [row[0] for row in aspects.rows][-2:] == ["Accuracy", "Storage"]


def test_weights_are_drawn_dense_and_after_each_method(data: Tables) -> None:
    names = [picture.name for picture in pictures_of(pruned.weights(data))]
    assert names == ["weights_dense", "weights_unstructured", "weights_structured"]


def test_a_quarter_is_drawn_where_the_sweep_lacks_half(data: Tables, alone: Tables) -> None:
    found = queries.histograms(data, "structured")
    assert found is not None
    assert found[1] == 0.25
    assert queries.histograms(alone, "structured") is None


def histogram(*rows: tuple[str, int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["state", "low", "high", "count"]).assign(layer="features.0")


def test_weights_near_zero_are_counted_apart_from_zeros() -> None:
    table = histogram(*(("dense", *bounds) for bounds in BINS), ("masked", *BINS[0]), ("masked", -1, 1, 0))
    assert queries.near_zero_pct(table, "dense") == 50.0
    assert queries.near_zero_pct(table, "masked") == 0.0


def test_the_layer_that_is_off_centre_is_named() -> None:
    centred = histogram(*(("dense", *bounds) for bounds in BINS))
    moved = centred.assign(layer="classifier.0", low=centred["low"] + 2, high=centred["high"] + 2)
    layer, distance = queries.furthest_from_zero(pd.concat([centred, moved], ignore_index=True))
    assert (layer, distance) == ("classifier.0", pytest.approx(2 / 2**0.5))
