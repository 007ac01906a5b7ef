"""Tables by hand: whom to compare, looks that are kept, objects, logits, maps beside nulls, and pictures as text."""

import base64
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from deepcompress import params
from deepcompress.data import store
from deepcompress.data.batches import View
from deepcompress.data.sources import shapes
from deepcompress.data.store import DataConfig
from deepcompress.errors import UserError
from deepcompress.explain import attention, tables
from deepcompress.explain.tables import INDEPENDENT, object_masks
from deepcompress.measure.settings import Explain, Robustness
from deepcompress.models import checkpoint
from deepcompress.models.vgg import VGG
from tests import nets, plans
from tests.house import ROOT
from tests.nets import VIEW

TEACHER, STUDENT = "teachers/vgg16", "students/logit-vgg16"
FEW = {"images": 4, "batch_size": 8, "temperature": 3.0, "strip_images": 2}
EXPLAIN: dict[str, Any] = params.read(ROOT / "params.yaml")["explain"] | FEW
IDS = ["teachers/vgg16", "teachers/vgg16_jitter", "students/independent", "students/crd_logit-vgg16_jitter"]


def save(folder: Path, model: str, *, classes: tuple[str, ...], view: View = VIEW) -> None:
    network = VGG(replace(nets.spec(), classes=len(classes)))
    checkpoint.save(folder / f"{model}.safetensors", network, view=view, classes=classes, provenance={})


def test_a_student_has_its_own_teacher_a_control_all_and_what_is_compressed_but_not_masked_alone_the_baseline() -> None:
    ids = ["baseline", *IDS, "masked/structured-0.25", "students/hint-baseline", "combined/prune_distill"]
    assert tables.pairs(plans.plan(ids)) == [
        ("students/independent", "teachers/vgg16"),
        ("students/independent", "teachers/vgg16_jitter"),
        ("students/independent", "baseline"),
        ("students/crd_logit-vgg16_jitter", "teachers/vgg16_jitter"),
        ("students/crd_logit-vgg16_jitter", "baseline"),
        ("students/hint-baseline", "baseline"),
        ("combined/prune_distill", "baseline"),
    ]


@pytest.mark.parametrize("ids", [["baseline"], ["baseline", "masked/structured-0.25", "teachers/vgg16"]])
def test_a_plan_without_pairs_is_refused(ids: list[str]) -> None:
    with pytest.raises(UserError, match="there is nothing to compare"):
        tables.pairs(plans.plan(ids))


SEED = 3
DATA = DataConfig(source="shapes", seed=SEED, stored_size=16, validation_fraction=0.25, shapes={"train_per_class": 4})


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> store.Fit:
    folder: Path = tmp_path_factory.mktemp("shapes") / "fit"
    options = shapes.Options(train_per_class=4, test_per_class=1)
    source = shapes.load(options, stored_size=16, seed=SEED, workspace=folder)
    store.write_fit(folder, source, validation_fraction=0.25, seed=SEED)
    return store.open_fit(folder)


def test_a_look_is_taken_once_per_file_and_only_at_models_of_these_images(fit, project, monkeypatch) -> None:
    config = Explain.model_validate({**EXPLAIN, "robustness": {"noise": 0.1, "fgsm": 0.01, "images": 3}})
    images = tables.ValidationImages(fit, "a digest", VIEW, config, DATA, torch.device("cpu"))
    for model in ("baseline", TEACHER, STUDENT):
        save(project, model, classes=fit.meta.classes)
    pairs = [(STUDENT, TEACHER), (STUDENT, "baseline")]

    def looked(*models: str, of: tables.ValidationImages = images) -> dict[str, tables.Look]:
        paths = {model: project / f"{model}.safetensors" for model in models}
        return tables.looks(paths, pairs, of, changed=["baseline"])

    first = looked("baseline", TEACHER, STUDENT)
    assert [list(look.maps) for look in first.values()] == [["block3"], *[["block3", "block4"]] * 2]
    assert [list(look.changed) for look in first.values()] == [["noise", "fgsm"], [], []]
    other = replace(images, config=config.model_copy(update={"robustness": Robustness(fgsm=0.1, images=2)}))
    assert looked("baseline", of=other)["baseline"].changed["fgsm"].shape == (2, len(fit.meta.classes))
    monkeypatch.setattr(attention, "maps", None)  # a second look would need it
    again = looked("baseline", TEACHER, STUDENT)
    for model, look in first.items():
        assert torch.equal(look.plain, again[model].plain)
        assert torch.equal(look.jittered, again[model].jittered)
        assert all(torch.equal(found, again[model].changed[name]) for name, found in look.changed.items())
        assert all(np.array_equal(heat, again[model].maps[role]) for role, heat in look.maps.items())
    save(project, "b", classes=("ant", "bee", "cow"))
    save(project, "c", view=View(32, (0.1, 0.1, 0.1), VIEW.std), classes=fit.meta.classes)
    for other, message in (("b", "other classes"), ("c", "sees images as"), ("d", "no such file")):
        with pytest.raises(UserError, match=rf"{other}.safetensors: .*{message}"):
            looked(other)


def test_a_mask_is_that_of_the_image_as_it_was_drawn(fit: store.Fit) -> None:
    masks = object_masks(DATA, fit, np.array([0, 7]), size=16)
    drawn = [shapes.draw(number, split="train", size=16, seed=SEED) for number in range(80)]
    assert masks is not None
    for row, mask in zip((0, 7), masks, strict=True):
        (expected,) = [own for image, own in drawn if np.array_equal(image, fit.validation.images[row])]
        assert np.array_equal(mask, expected)
    large = object_masks(DATA, fit, np.array([0, 7]), size=32)
    assert np.array_equal(large, masks.repeat(2, 1).repeat(2, 2))  # each pixel several times


def test_only_images_that_are_drawn_from_this_seed_have_masks(fit: store.Fit) -> None:
    with pytest.raises(UserError, match=r"not those that params.yaml draws; run the download stage again"):
        object_masks(DATA.model_copy(update={"seed": SEED + 1}), fit, np.array([0]), size=16)
    photographs = DataConfig(source="cifar100", stored_size=16, validation_fraction=0.25)
    assert object_masks(photographs, fit, np.array([0]), size=16) is None


LOG3 = math.log(3.0)
PLAIN = {
    TEACHER: torch.tensor([[LOG3, 0.0], [0.0, LOG3], [LOG3, 0.0], [LOG3, 0.0]]),
    STUDENT: torch.tensor([[0.0, -1e-9], [0.0, 1e-9], [0.0, -1e-9], [0.0, 1e-9]]).double(),
}
JITTERED = {name: logits.flip(1) for name, logits in PLAIN.items()} | {STUDENT: PLAIN[STUDENT]}


def test_kl_is_from_the_teacher_to_the_student_and_agreement_of_answers() -> None:
    (row,) = tables.alignment_rows([(STUDENT, TEACHER)], PLAIN, JITTERED, temperature=2.0)
    assert (row["model"], row["teacher"], row["n"], row["temperature"]) == (STUDENT, TEACHER, 4, 2.0)
    assert row["kl_nats"] == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-3)
    root = math.sqrt(3)
    p = root / (1 + root)
    assert row["kl_softened_nats"] == pytest.approx(p * math.log(2 * p) + (1 - p) * math.log(2 - 2 * p), rel=1e-3)
    assert (row["agreement_pct"], row["jittered_agreement_pct"]) == (75.0, 25.0)  # equal answers, right or wrong


@pytest.fixture
def maps() -> dict[str, np.ndarray]:
    teacher, noise, alone = np.random.default_rng(0).random((3, 12, 16, 16)).astype(np.float32)
    return {TEACHER: teacher, STUDENT: 0.9 * teacher + 0.1 * noise, INDEPENDENT: alone}


def row(maps: dict[str, np.ndarray], student: str = STUDENT, **options) -> dict:
    (made,) = tables.attention_rows(maps, [(student, TEACHER)], "block3", window=7, **options)
    return made


def test_a_follower_is_far_above_both_nulls_and_its_gain_has_an_interval(maps) -> None:
    follower = row(maps)
    assert follower["ssim"] > 0.9
    assert follower["ssim_other_image"] < 0.1
    assert follower["ssim_independent"] < 0.1
    assert follower["ssim_gain"] == pytest.approx(follower["ssim"] - follower["ssim_independent"], rel=1e-2)
    assert follower["ssim_gain_low"] < follower["ssim_gain"] < follower["ssim_gain_high"]
    assert [follower[key] for key in ("n", "empty", "window_px", "role")] == [12, 0, 7, "block3"]
    alone = row(maps, INDEPENDENT)  # its own null
    assert alone["ssim"] == alone["ssim_independent"]
    assert alone["ssim_gain"] is None


@pytest.mark.parametrize("reference", [TEACHER, "baseline"])
def test_without_an_independent_student_or_beside_the_baseline_that_null_is_empty(maps, reference) -> None:
    if reference == TEACHER:
        del maps[INDEPENDENT]
    maps["baseline"] = maps[TEACHER]
    (alone,) = tables.attention_rows(maps, [(STUDENT, reference)], "block3", window=7)
    assert alone["ssim"] > 0.9
    assert alone["ssim_independent"] is None
    assert alone["ssim_gain"] is None


def test_empty_maps_are_counted(maps) -> None:
    maps[STUDENT] = np.where(np.arange(12)[:, None, None] < 2, 0, maps[STUDENT])
    assert (row(maps)["n"], row(maps)["empty"]) == (10, 2)


def test_shares_inside_the_object_stand_beside_the_object_s_own(maps) -> None:
    masks = np.zeros((12, 16, 16), bool)
    masks[:, :4] = True
    even = row({name: np.ones((12, 16, 16), np.float32) for name in maps}, masks=masks)
    assert (even["inside_pct"], even["teacher_inside_pct"], even["object_pct"]) == (25.0, 25.0, 25.0)
    assert row(maps)["inside_pct"] is None


def decoded(text: str, *shape: int) -> np.ndarray:
    assert text.startswith(tables.BYTES)
    return np.frombuffer(base64.b64decode(text.removeprefix(tables.BYTES)), np.uint8).reshape(shape)


@pytest.mark.parametrize(("size", "side"), [(32, 32), (224, 56)])  # large pictures are thinned out
def test_pixels_come_back(size: int, side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    rows = tables.image_rows(pixels, ["ant", "bee"])
    table = pd.read_csv(io.StringIO(pd.DataFrame(rows).to_csv(index=False)))
    assert table[["class", "side"]].to_numpy().tolist() == [["ant", side], ["bee", side]]
    for text, image in zip(table["pixels"], pixels, strict=True):
        assert np.array_equal(decoded(text, side, side, 3), image[:: size // side, :: size // side])


def test_each_teacher_s_own_map_stands_before_its_students() -> None:
    maps = np.random.default_rng(0).random((2, 6, 16, 16)).astype(np.float32)
    pictures = {TEACHER: maps[0], STUDENT: maps[1]}
    rows = tables.strip_rows(pictures, [(STUDENT, TEACHER)], "block3", np.array([1, 4]), window=7)
    assert [(row["model"], row["image"]) for row in rows] == [(TEACHER, 0), (TEACHER, 1), (STUDENT, 0), (STUDENT, 1)]
    assert [row["ssim"] is None for row in rows] == [True, True, False, False]
    drawn = decoded(rows[3]["map"], 16, 16)
    assert np.abs(drawn / 255 - maps[1][4]).max() < 0.5 / 255 + 1e-6
