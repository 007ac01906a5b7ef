"""Histograms of weights: zeros apart, nearness in the dense layer's deviations."""

from __future__ import annotations

import pandas as pd
import pytest

from deepcompress.report import weights
from deepcompress.report.tables import Tables

BINS = [(-3, -1, 1), (-1, 1, 2), (1, 3, 1)]  # variance 2, so that only the middle bin is near


def histogram(*rows: tuple[str, int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["state", "low", "high", "count"]).assign(layer="features.0")


def test_weights_near_zero_are_counted_apart_from_zeros() -> None:
    table = histogram(*(("dense", *one) for one in BINS), ("masked", *BINS[0]), ("masked", -1, 1, 0))
    assert weights.near_zero_pct(table, "dense") == 50.0
    assert weights.near_zero_pct(table, "masked") == 0.0


def test_the_layer_that_is_off_centre_is_named() -> None:
    centred = histogram(*(("dense", *one) for one in BINS))
    moved = centred.assign(layer="classifier.0", low=centred["low"] + 2, high=centred["high"] + 2)
    layer, distance = weights.furthest_from_zero(pd.concat([centred, moved], ignore_index=True))
    assert (layer, distance) == ("classifier.0", pytest.approx(2 / 2**0.5))


def test_a_quarter_is_drawn_where_the_sweep_lacks_half(data: Tables) -> None:
    found = weights.drawn(data, "structured")
    assert found is not None
    assert found[1] == 0.25


def test_nothing_pruned_is_nothing_drawn(alone: Tables) -> None:
    assert weights.drawn(alone, "structured") is None
