"""Rows on answers and colours, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from deepcompress.explain import alignment
from deepcompress.explain.models import Pair

TEACHER, STUDENT = "teachers/vgg16", "students/logit-vgg16"
LOG3 = math.log(3.0)
PLAIN = {
    TEACHER: torch.tensor([[LOG3, 0.0], [0.0, LOG3], [LOG3, 0.0], [LOG3, 0.0]]),
    STUDENT: torch.tensor([[0.0, -1e-9], [0.0, 1e-9], [0.0, -1e-9], [0.0, 1e-9]]).double(),
}
JITTERED = {name: logits.flip(1) for name, logits in PLAIN.items()} | {STUDENT: PLAIN[STUDENT]}


def test_kl_is_from_the_teacher_to_the_student_at_both_temperatures() -> None:
    (row,) = alignment.answers([Pair(STUDENT, TEACHER)], PLAIN, JITTERED, temperature=2.0)
    assert (row["model"], row["teacher"], row["n"], row["temperature"]) == (STUDENT, TEACHER, 4, 2.0)
    assert row["kl_nats"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-3)
    root = math.sqrt(3)
    p = root / (1 + root)
    assert row["kl_softened_nats"] == pytest.approx(p * math.log(2 * p) + (1 - p) * math.log(2 - 2 * p), rel=1e-3)


def test_agreement_counts_equal_answers_right_or_wrong() -> None:
    (row,) = alignment.answers([Pair(STUDENT, TEACHER)], PLAIN, JITTERED, temperature=2.0)
    assert row["agreement_pct"] == 75.0
    assert row["jittered_agreement_pct"] == 25.0


def test_colours_give_both_accuracies_with_intervals_the_drop_and_the_consistency() -> None:
    teacher, student = alignment.colours(PLAIN, JITTERED, torch.tensor([0, 1, 0, 0]))
    assert (teacher["top1_pct"], teacher["jittered_top1_pct"], teacher["drop_points"]) == (100.0, 0.0, 100.0)
    assert teacher["top1_pct_low"] < 100.0 == teacher["top1_pct_high"]
    assert teacher["consistency_pct"] == 0.0
    assert (student["top1_pct"], student["drop_points"], student["consistency_pct"]) == (75.0, 0.0, 100.0)
    assert (student["drop_points_low"], student["drop_points_high"]) == (0.0, 0.0)
