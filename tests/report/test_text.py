"""Numbers as the report writes them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from deepcompress.report import text
from deepcompress.report.blocks import Table


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (text.number(12345.678), "12,345.7"),
        (text.number(-0.04), "0.0"),
        (text.number(-1.25, 2), "−1.25"),
        (text.number(math.nan), "–"),
        (text.signed(0.31), "+0.3"),
        (text.signed(-0.31), "−0.3"),
        (text.signed(-0.01), "0.0"),
        (text.signed(math.nan), "–"),
        (text.probability(0.0004), "< 0.001"),
        (text.probability(0.25), "0.250"),
        (text.short(1_234_567), "1.23 M"),
        (text.short(999), "999"),
        (text.short(math.nan), "–"),
        (text.times(3.94), "3.9×"),
        (text.times(123.4), "123×"),
        (text.count(1, "model"), "1 model"),
        (text.count(2, "class"), "2 classes"),
        (text.count(1, "class"), "1 class"),
    ],
)
def test_numbers_are_rounded_and_carry_their_unit(written: str, expected: str) -> None:
    assert written == expected


def row(**values: object) -> pd.Series:
    gap = {"difference_points": -0.4, "difference_points_low": -1.1, "difference_points_high": 0.3}
    return pd.Series({"model": "pruned/x", **gap, **values})


def test_a_difference_carries_its_interval() -> None:
    assert text.difference(row()) == "−0.4 (−1.1 to +0.3)"
    assert text.difference(row(difference_points_low=math.nan)) == "−0.4"


def test_the_baseline_has_no_difference_to_itself() -> None:
    assert text.difference(row(model="baseline", difference_points=0.0)) == "–"


@pytest.mark.parametrize("value", [-0.05, 0.25, 0.35, 1.45])
def test_a_number_reads_the_same_whoever_made_it(value: float) -> None:
    assert text.signed(np.float64(value)) == text.signed(value)
    assert text.number(np.float64(value)) == text.number(value)


@pytest.mark.parametrize("cell", ["–", "9.35", "+0.4 (−0.7 to +1.5)", "3.9×", "2.4 M", "< 0.001", "1,000"])
def test_numbers_are_set_flush_right(cell: str) -> None:
    assert Table(("head",), ((cell,), ("1",))).numeric == (True,)


def test_a_value_stands_with_its_interval_or_is_missing() -> None:
    gain = row(difference_points=0.4)
    assert text.interval(gain, "difference_points", 2) == "0.40 (−1.10 to 0.30)"
    assert text.interval(gain, "difference_points", write=text.signed) == "+0.4 (−1.1 to +0.3)"
    assert text.interval(gain.drop("difference_points"), "difference_points") == "–"


def test_columns_without_any_value_are_left_out() -> None:
    rows = pd.DataFrame({"model": ["a", "b"], "p": [np.nan, np.nan], "mib": [1.0, np.nan]})
    table = Table.of(rows, {"Model": "model", "p": ("p", 3), "MiB": ("mib", 0)})
    assert (table.columns, table.rows) == (("Model", "MiB"), (("a", "1"), ("b", "–")))
