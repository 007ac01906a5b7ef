"""The benchmark of the whole protocol on tiny networks: equal models both ways, every stage in the table."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import pipeline
from benchmarks.pipeline_items import Item, Made, Trio, equal_row, items


def made(right: int, shift: float, seconds: float) -> Made:
    """A model with a weight of norm 1, shifted by a share of that."""
    return Made(seconds, [40, right], {"w": np.array([0.6 + shift, 0.8])})


def trio(
    kind: str, *, right: int = 50, shift: float = 0.0, far: int = 0, turn: float = 0.0, ours_s: float = 1.0
) -> Trio:
    """An item whose plain way was right on 50 images; `far` images and `turn` away is its twin."""
    item = Item(f"{kind}s", kind)
    return Trio(item, made(50, 0.0, 3.0), made(50 + far, turn, 2.0), made(right, shift, ours_s))


@pytest.mark.parametrize(
    ("ours", "twin", "equal"),
    [
        ({"right": 51, "shift": 0.029}, {}, True),  # what may differ always
        ({"right": 52}, {}, False),
        ({"shift": 0.031}, {}, False),
        ({"right": 46}, {"far": 2}, True),  # twice as far as rounding takes the plain way
        ({"right": 45}, {"far": 2}, False),
        ({"shift": 0.059}, {"turn": 0.03}, True),
        ({"shift": 0.061}, {"turn": 0.03}, False),
        ({"right": 54}, {"turn": 0.5}, False),  # far weights excuse no accuracy
    ],
)
def test_results_are_equal_at_twice_the_distance_that_rounding_makes(
    ours: dict[str, Any], twin: dict[str, Any], equal: bool
) -> None:
    other = trio("student", **twin)
    assert equal_row([trio("student", **ours), other], "students") is equal
    assert equal_row([trio("student", **ours, **twin)], "students") is equal
    # What rounding does to items of another kind excuses nothing.
    alone = equal_row([trio("student", **ours), trio("prune", **twin)], "students")
    assert alone is (equal and not twin)


def test_all_ways_end_with_equal_models_in_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    first = list({item.row: item for item in reversed(items())}.values())[::-1]  # of each row
    monkeypatch.setattr(pipeline, "items", lambda: first)
    result = CliRunner().invoke(pipeline.main, ["--quick"], catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    for row in [*(item.row for item in first), "total"]:
        (line,) = (line for line in lines if re.match(rf"{row} +\d", line))
        assert "x  yes: " in line, line
