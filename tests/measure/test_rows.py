"""The rows of both tables, worked by hand from a few logits."""

from __future__ import annotations

import json
import math

import pytest
import torch

from deepcompress.measure.rows import PAIRED, Answers, decimals, evaluation_row, per_class_rows, significant
from deepcompress.measure.statistics import wilson_interval

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
COLUMNS = [
    "model",
    "top1_pct",
    "top1_pct_low",
    "top1_pct_high",
    "top5_pct",
    "n",
    "cross_entropy_loss",
    "calibration_error_pct",
    "difference_points",
    "difference_points_low",
    "difference_points_high",
    "mcnemar_p",
    "agreement_with_baseline_pct",
    "kl_to_baseline_nats",
    "parameters",
    "nonzero_weights",
    "macs",
    "size_bytes",
    "bits_per_weight",
]


def answers(*predicted: int, odds: float = 3.0) -> Answers:
    """A model that gives its answer `odds` times the probability of the other of two classes."""
    logits = torch.zeros(len(predicted), 2)
    logits[torch.arange(len(predicted)), torch.tensor(predicted)] = math.log(odds)
    return Answers(logits, parameters=100, nonzero_weights=60, macs=5000, size_bytes=410)


BASELINE = answers(0, 0, 0, 0, 1, 1, 0, 0)
OTHER = answers(0, 0, 1, 1, 1, 1, 1, 0)


def test_a_row_has_the_columns_in_order_and_the_baseline_has_no_paired_numbers() -> None:
    row = evaluation_row("baseline", BASELINE, LABELS, baseline=None, calibration_bins=15)
    assert list(row) == COLUMNS
    assert [row[column] for column in PAIRED] == [None] * 6
    assert list(evaluation_row("other", OTHER, LABELS, baseline=BASELINE, calibration_bins=15)) == COLUMNS


def test_a_models_own_numbers_are_those_worked_by_hand() -> None:
    row = evaluation_row("baseline", BASELINE, LABELS, baseline=None, calibration_bins=15)
    low, high = wilson_interval(6, 8)
    assert (row["top1_pct"], row["n"], row["top5_pct"]) == (75.0, 8, 100.0)
    assert (row["top1_pct_low"], row["top1_pct_high"]) == (round(100 * low, 2), round(100 * high, 2))
    assert row["calibration_error_pct"] == 0.0  # says 3/4 and is right in 6 of 8
    assert row["cross_entropy_loss"] == pytest.approx((6 * math.log(4 / 3) + 2 * math.log(4)) / 8, rel=1e-3)
    assert (row["parameters"], row["nonzero_weights"], row["macs"]) == (100, 60, 5000)
    assert (row["size_bytes"], row["bits_per_weight"]) == (410, 32.8)


def test_paired_numbers_are_those_worked_by_hand() -> None:
    row = evaluation_row("other", OTHER, LABELS, baseline=BASELINE, calibration_bins=15)
    assert row["difference_points"] == -12.5  # 5 right of 8, against 6
    assert row["difference_points_low"] < -12.5 < row["difference_points_high"]
    assert row["mcnemar_p"] == 1.0  # 3 images differ, one in favour: 2 * (1 + 3) / 8
    assert row["agreement_with_baseline_pct"] == 62.5
    # On the 3 other images of 8: KL((3/4, 1/4) || (1/4, 3/4)) = log(3) / 2
    assert row["kl_to_baseline_nats"] == pytest.approx(3 / 8 * math.log(3) / 2, rel=1e-3)


def test_a_copy_of_the_baseline_does_not_differ() -> None:
    row = evaluation_row("copy", BASELINE, LABELS, baseline=BASELINE, calibration_bins=15)
    assert [row[column] for column in PAIRED] == [0.0, 0.0, 0.0, 1.0, 100.0, 0.0]


def test_a_diverged_model_gets_a_row_without_numbers_that_json_cannot_hold() -> None:
    broken = Answers(torch.full((8, 2), math.nan), 100, 60, 5000, 410)
    row = evaluation_row("broken", broken, LABELS, baseline=BASELINE, calibration_bins=15)
    assert (row["top1_pct"], row["cross_entropy_loss"], row["calibration_error_pct"]) == (0.0, None, None)
    json.dumps(row, allow_nan=False)


def test_classes_have_a_row_each_even_without_images() -> None:
    rows = per_class_rows("other", OTHER, LABELS, ("ant", "bee", "cat"))
    assert rows == [
        {"model": "other", "class": "ant", "n": 4, "top1_pct": 50.0},
        {"model": "other", "class": "bee", "n": 4, "top1_pct": 75.0},
        {"model": "other", "class": "cat", "n": 0, "top1_pct": None},
    ]


def test_rounding_knows_no_negative_zero_and_no_infinity() -> None:
    assert str(decimals(-0.001)) == "0.0"
    assert str(significant(-0.0)) == "0.0"
    assert (decimals(12.3456), significant(0.000123456)) == (12.35, 0.0001235)
    assert decimals(math.inf) is None
    assert significant(math.nan) is None
