"""The headline numbers come from the rows by id."""

from __future__ import annotations

from typing import Any

import pytest

from deepcompress.measure.headline import QUALITY, headline


def row(model: str, **changes: Any) -> dict[str, Any]:
    values = dict.fromkeys(QUALITY, 50.0) | {"n": 1000, "agreement_with_baseline_pct": 91.2}
    values |= {"difference_points": -1.5, "parameters": 2_345_678, "macs": 9_876_543, "size_bytes": 3 * 2**20}
    values |= {"bits_per_weight": 32.1}
    return {"model": model, **values, **changes}


ROWS = [row("baseline"), row("pruned/structured-0.25", size_bytes=2**20, top1_pct=48.5, bits_per_weight=8.4)]


def test_only_the_baseline_is_told_of_as_long_as_it_is_alone() -> None:
    numbers = headline(ROWS[:1])
    assert list(numbers) == ["heldout", "baseline"]
    assert numbers["heldout"] == {"n_images": 1000}
    assert numbers["baseline"]["size_mib"] == 3.0
    assert (numbers["baseline"]["parameters_million"], numbers["baseline"]["macs_million"]) == (2.35, 9.88)


def test_a_role_is_compared_with_the_baseline() -> None:
    numbers = headline(ROWS, {"baseline": "baseline", "pruned": "pruned/structured-0.25"})
    assert numbers["pruned"] == {
        "top1_pct": 48.5,
        "difference_points": -1.5,
        "agreement_with_baseline_pct": 91.2,
        "times_smaller": 3.0,
        "parameters_million": 2.35,
        "macs_million": 9.88,
        "size_mib": 1.0,
        "bits_per_weight": 8.4,
    }


def test_a_role_without_its_model_is_left_out_and_the_baseline_must_be_there() -> None:
    assert headline(ROWS[:1], {"baseline": "baseline", "shipped": "nowhere"}).keys() == {
        "heldout",
        "baseline",
    }
    with pytest.raises(KeyError):
        headline(ROWS[1:])
