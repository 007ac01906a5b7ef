"""Tables by hand: whom to compare, outputs and colour jitter, maps beside their nulls, and pictures as text."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from deepcompress.data.batches import View
from deepcompress.errors import UserError
from deepcompress.explain import similarity, tables
from deepcompress.explain.tables import INDEPENDENT, Attention, Pair
from deepcompress.models import checkpoint
from tests import plans
from tests.explain.conftest import VIEW, make_network

TEACHER, STUDENT = "teachers/vgg16", "students/logit-vgg16"
NAMES = ("ant", "bee", "cat")
IDS = ["teachers/vgg16", "teachers/vgg16_jitter", "students/independent", "students/crd_logit-vgg16_jitter"]


def save(folder: Path, model: str, *, view: View = VIEW, classes: tuple[str, ...] = NAMES) -> None:
    checkpoint.save(folder / f"{model}.safetensors", make_network(), view=view, classes=classes, provenance={})


def test_a_student_has_its_own_teacher_and_a_control_has_all() -> None:
    assert tables.pairs(plans.plan(["baseline", *IDS])) == [
        Pair("students/independent", "teachers/vgg16"),
        Pair("students/independent", "teachers/vgg16_jitter"),
        Pair("students/independent", "baseline"),
        Pair("students/crd_logit-vgg16_jitter", "teachers/vgg16_jitter"),
        Pair("students/crd_logit-vgg16_jitter", "baseline"),
    ]


def test_a_compressed_model_is_compared_with_the_baseline_unless_it_is_masked_only() -> None:
    ids = ["baseline", "masked/structured-0.25", "pruned/structured-0.25", "teachers/vgg16", "combined/prune_distill"]
    assert tables.pairs(plans.plan(ids)) == [
        Pair("pruned/structured-0.25", "baseline"),
        Pair("combined/prune_distill", "baseline"),
    ]


@pytest.mark.parametrize("ids", [["baseline"], ["baseline", "masked/structured-0.25"], ["baseline", "teachers/vgg16"]])
def test_a_plan_without_pairs_is_refused(ids: list[str]) -> None:
    with pytest.raises(UserError, match="there is nothing to compare"):
        tables.pairs(plans.plan(ids))


def test_models_come_in_evaluation_mode_with_their_common_view(tmp_path: Path) -> None:
    for model in IDS:
        save(tmp_path, model)
    found, view = tables.load_models(IDS, tmp_path, classes=NAMES, device=torch.device("cpu"))
    assert list(found) == IDS
    assert view == VIEW
    assert not any(model.training for model in found.values())


def test_models_of_other_classes_or_other_pixels_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "a")
    save(tmp_path, "b", classes=("ant", "bee", "cow"))
    save(tmp_path, "c", view=View(32, (0.1, 0.1, 0.1), VIEW.std))
    for other, message in (("b", "other classes"), ("c", "unlike the models before it"), ("d", "no such file")):
        with pytest.raises(UserError, match=rf"{other}.safetensors: .*{message}"):
            tables.load_models(["a", other], tmp_path, classes=NAMES, device=torch.device("cpu"))


LOG3 = math.log(3.0)
PLAIN = {
    TEACHER: torch.tensor([[LOG3, 0.0], [0.0, LOG3], [LOG3, 0.0], [LOG3, 0.0]]),
    STUDENT: torch.tensor([[0.0, -1e-9], [0.0, 1e-9], [0.0, -1e-9], [0.0, 1e-9]]).double(),
}
JITTERED = {name: logits.flip(1) for name, logits in PLAIN.items()} | {STUDENT: PLAIN[STUDENT]}


def test_kl_is_from_the_teacher_to_the_student_at_both_temperatures() -> None:
    (row,) = tables.alignment_rows([Pair(STUDENT, TEACHER)], PLAIN, JITTERED, temperature=2.0)
    assert (row["model"], row["teacher"], row["n"], row["temperature"]) == (STUDENT, TEACHER, 4, 2.0)
    assert row["kl_nats"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-3)
    root = math.sqrt(3)
    p = root / (1 + root)
    assert row["kl_softened_nats"] == pytest.approx(p * math.log(2 * p) + (1 - p) * math.log(2 - 2 * p), rel=1e-3)


def test_agreement_counts_equal_answers_right_or_wrong() -> None:
    (row,) = tables.alignment_rows([Pair(STUDENT, TEACHER)], PLAIN, JITTERED, temperature=2.0)
    assert row["agreement_pct"] == 75.0
    assert row["jittered_agreement_pct"] == 25.0


def test_colours_give_both_accuracies_with_intervals_the_drop_and_the_consistency() -> None:
    teacher, student = tables.jitter_rows(PLAIN, JITTERED, torch.tensor([0, 1, 0, 0]))
    assert (teacher["top1_pct"], teacher["jittered_top1_pct"], teacher["drop_points"]) == (100.0, 0.0, 100.0)
    assert teacher["top1_pct_low"] < 100.0 == teacher["top1_pct_high"]
    assert teacher["consistency_pct"] == 0.0
    assert (student["top1_pct"], student["drop_points"], student["consistency_pct"]) == (75.0, 0.0, 100.0)
    assert (student["drop_points_low"], student["drop_points_high"]) == (0.0, 0.0)


@pytest.fixture
def seen() -> Attention:
    teacher, noise, alone = np.random.default_rng(0).random((3, 12, 16, 16)).astype(np.float32)
    return Attention("block3", {TEACHER: teacher, STUDENT: 0.9 * teacher + 0.1 * noise, INDEPENDENT: alone})


def row(seen: Attention, student: str = STUDENT, **options) -> dict:
    (found,) = tables.attention_rows(seen, [Pair(student, TEACHER)], window=7, **options)
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
    taught, compressed = tables.attention_rows(
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
    found = tables.attention_rows(ones, [Pair(STUDENT, TEACHER)], window=7, masks=masks)[0]
    assert (found["inside_pct"], found["teacher_inside_pct"], found["object_pct"]) == (25.0, 25.0, 25.0)
    assert row(seen)["inside_pct"] is None


def test_a_network_follows_itself(batches) -> None:
    models = {TEACHER: make_network(), STUDENT: make_network(), INDEPENDENT: make_network(number=5)}
    found = row(tables.look(models, batches, "block3"))
    assert found["ssim"] == 1.0
    assert found["cosine"] == pytest.approx(1.0)
    assert similarity.usable(tables.look(models, batches, "block3").maps[TEACHER]).any()


def decoded(text: str, *shape: int) -> np.ndarray:
    assert text.startswith(tables.BYTES)
    return np.frombuffer(base64.b64decode(text.removeprefix(tables.BYTES)), np.uint8).reshape(shape)


def test_pixels_come_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    rows = tables.image_rows(pixels, ["ant", "bee"])
    table = pd.read_csv(io.StringIO(pd.DataFrame(rows).to_csv(index=False)))
    assert table["class"].tolist() == ["ant", "bee"]
    for row, expected in zip(table.to_dict("records"), pixels, strict=True):
        assert np.array_equal(decoded(row["pixels"], row["side"], row["side"], 3), expected)


def test_large_pictures_are_thinned_out() -> None:
    (row,) = tables.image_rows(np.zeros((1, 224, 224, 3), np.uint8), ["ant"])
    assert row["side"] == 56
    assert decoded(row["pixels"], 56, 56, 3).max() == 0


def test_each_teacher_s_own_map_stands_before_its_students() -> None:
    maps = np.random.default_rng(0).random((2, 6, 16, 16)).astype(np.float32)
    seen = Attention("block3", {TEACHER: maps[0], STUDENT: maps[1]})
    rows = tables.strip_rows(seen, [Pair(STUDENT, TEACHER)], np.array([1, 4]), window=7)
    assert [(row["model"], row["image"]) for row in rows] == [(TEACHER, 0), (TEACHER, 1), (STUDENT, 0), (STUDENT, 1)]
    assert [row["ssim"] is None for row in rows] == [True, True, False, False]
    drawn = decoded(rows[3]["map"], 16, 16)
    assert np.abs(drawn / 255 - maps[1][4]).max() < 0.5 / 255 + 1e-6
