"""Rows on maps: what stands beside a similarity, and what stays empty."""

from __future__ import annotations

import numpy as np
import pytest

from deepcompress.explain import attention, similarity
from deepcompress.explain.attention import INDEPENDENT, Attention
from deepcompress.explain.models import Pair
from tests.explain.conftest import make_network

TEACHER, STUDENT = "teachers/vgg16", "students/logit-vgg16"


@pytest.fixture
def seen() -> Attention:
    teacher, noise, alone = np.random.default_rng(0).random((3, 12, 16, 16)).astype(np.float32)
    return Attention("block3", {TEACHER: teacher, STUDENT: 0.9 * teacher + 0.1 * noise, INDEPENDENT: alone})


def row(seen: Attention, student: str = STUDENT, **options) -> dict:
    (found,) = attention.rows(seen, [Pair(student, TEACHER)], window=7, **options)
    return found


def test_a_follower_is_far_above_both_nulls_and_its_gain_has_an_interval(seen: Attention) -> None:
    found = row(seen)
    assert found["ssim"] > 0.9
    assert found["ssim_other_image"] < 0.1
    assert found["ssim_independent"] < 0.1
    assert found["ssim_gain"] == pytest.approx(found["ssim"] - found["ssim_independent"], rel=1e-2)
    assert found["ssim_gain_low"] < found["ssim_gain"] < found["ssim_gain_high"]
    assert (found["n"], found["empty"], found["window_px"], found["role"]) == (12, 0, 7, "block3")


def test_the_independent_student_is_its_own_null(seen: Attention) -> None:
    found = row(seen, INDEPENDENT)
    assert found["ssim"] == found["ssim_independent"]
    assert found["ssim_gain"] is None


def test_without_an_independent_student_that_null_is_empty(seen: Attention) -> None:
    found = row(Attention("block3", {k: v for k, v in seen.maps.items() if k != INDEPENDENT}))
    assert found["ssim"] > 0.9
    assert found["ssim_independent"] is None
    assert found["ssim_gain"] is None


def test_beside_the_baseline_no_untaught_student_is_a_null(seen: Attention) -> None:
    maps = {**seen.maps, "baseline": seen.maps[TEACHER]}
    taught, compressed = attention.rows(
        Attention("block3", maps), [Pair(STUDENT, TEACHER), Pair(STUDENT, "baseline")], window=7
    )
    assert compressed["ssim"] == taught["ssim"]
    assert taught["ssim_independent"] is not None
    assert compressed["ssim_independent"] is None
    assert compressed["ssim_gain"] is None


def test_empty_maps_are_counted(seen: Attention) -> None:
    maps = {**seen.maps, STUDENT: np.where(np.arange(12)[:, None, None] < 2, 0, seen.maps[STUDENT])}
    found = row(Attention("block3", maps))
    assert (found["n"], found["empty"]) == (10, 2)


def test_shares_inside_the_object_stand_beside_the_object_s_own(seen: Attention) -> None:
    masks = np.zeros((12, 16, 16), bool)
    masks[:, :4] = True
    ones = Attention("block3", {name: np.ones((12, 16, 16), np.float32) for name in seen.maps})
    found = attention.rows(ones, [Pair(STUDENT, TEACHER)], window=7, masks=masks)[0]
    assert (found["inside_pct"], found["teacher_inside_pct"], found["object_pct"]) == (25.0, 25.0, 25.0)
    assert row(seen)["inside_pct"] is None


def test_a_network_follows_itself(batches) -> None:
    models = {TEACHER: make_network(), STUDENT: make_network(), INDEPENDENT: make_network(number=5)}
    found = row(attention.look(models, batches, "block3"))
    assert found["ssim"] == 1.0
    assert found["cosine"] == pytest.approx(1.0)
    assert similarity.usable(attention.look(models, batches, "block3").maps[TEACHER]).any()
