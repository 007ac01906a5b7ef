"""Paper against here: the verdict follows the interval, and the sentence says where the settings differ."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from deepcompress.report import compare
from deepcompress.report.tables import Tables

PAPER = {"quantized/ptq-int8": 61.83, "quantized/qat-int8": 64.59}


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-1.0, 1.0, "agrees"),
        (0.5, 1.0, "here better"),
        (-2.0, -0.5, "here worse"),
        (-0.04, -0.04, "agrees"),
        (0.06, 0.06, "here better"),
        (-0.06, -0.06, "here worse"),
        (None, None, "not tested"),
    ],
)
def test_outcome_follows_the_interval_as_it_is_shown(low: float | None, high: float | None, expected: str) -> None:
    row = pd.Series({"difference_points_low": low, "difference_points_high": high}, dtype=float)
    assert compare.outcome(0.0, row) == expected


def test_both_sides_stand_beside_each_other(data: Tables) -> None:
    table = compare.side_by_side(data.of("quantized"), PAPER, 61.85)
    assert table.rows[0] == (
        "ptq-int8",
        "0.0",
        "−0.2 (−1.3 to +0.9)",
        "agrees",
        "61.8",
        "87.1 (84.9 to 89.0)",
    )
    assert [row[3] for row in table.rows] == ["agrees", "here worse"]


def test_verdict_counts_agreement_and_names_the_widest_gap(data: Tables) -> None:
    sentence = compare.verdict(data.of("quantized"), PAPER, 61.85, data)
    assert sentence == (
        "Agrees with the paper in 1 of 2 models, contradicts it in the rest; the gap is widest for qat-int8: "
        "+2.7 points in the paper, +0.4 here (another setting: see The baseline)."
    )


def test_verdict_of_full_agreement_and_of_none(data: Tables) -> None:
    rows = data.of("quantized")
    assert compare.verdict(rows, {"quantized/ptq-int8": 61.83}, 61.85, data).startswith("Agrees with the paper, within")
    assert compare.verdict(rows, {"quantized/qat-int8": 99.0}, 61.85, data).startswith("Contradicts the paper in each")
    assert compare.verdict(rows, {}, 61.85, data) == "The paper and this run have no tested model in common."


def test_the_paper_s_own_setting_has_no_note(data: Tables) -> None:
    classes = sorted(compare.ONLY_IN_CIFAR100) + [f"class_{i}" for i in range(97)]
    theirs = dataclasses.replace(
        data,
        per_class=pd.DataFrame({"class": classes}),
        params={"model": {"image_size": 224, "weights": "imagenet"}},
    )
    assert compare.setting_note(theirs) == ""
    assert compare.setting_note(data) == (
        " (settings differ: data (shapes, not CIFAR-100), image size (32 px, not 224), no ImageNet pre-training)"
    )
