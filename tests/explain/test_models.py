"""Whom to compare with whom, and models that cannot be compared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepcompress.data.batches import View
from deepcompress.errors import UserError
from deepcompress.explain import models
from deepcompress.explain.models import Pair
from deepcompress.models import checkpoint
from tests import plans
from tests.explain.conftest import VIEW, make_network

NAMES = ("ant", "bee", "cat")
IDS = ["teachers/vgg16", "teachers/vgg16_jitter", "students/independent", "students/crd_logit-vgg16_jitter"]


def save(folder: Path, model: str, *, view: View = VIEW, classes: tuple[str, ...] = NAMES) -> None:
    checkpoint.save(folder / f"{model}.safetensors", make_network(), view=view, classes=classes, provenance={})


def test_a_student_has_its_own_teacher_and_a_control_has_all() -> None:
    assert models.pairs(plans.plan(["baseline", *IDS])) == [
        Pair("students/independent", "teachers/vgg16"),
        Pair("students/independent", "teachers/vgg16_jitter"),
        Pair("students/independent", "baseline"),
        Pair("students/crd_logit-vgg16_jitter", "teachers/vgg16_jitter"),
        Pair("students/crd_logit-vgg16_jitter", "baseline"),
    ]


def test_a_compressed_model_is_compared_with_the_baseline_unless_it_is_masked_only() -> None:
    ids = ["baseline", "masked/structured-0.25", "pruned/structured-0.25", "teachers/vgg16", "combined/prune_distill"]
    assert models.pairs(plans.plan(ids)) == [
        Pair("pruned/structured-0.25", "baseline"),
        Pair("combined/prune_distill", "baseline"),
    ]


@pytest.mark.parametrize("ids", [["baseline"], ["baseline", "masked/structured-0.25"], ["baseline", "teachers/vgg16"]])
def test_a_plan_without_pairs_is_refused(ids: list[str]) -> None:
    with pytest.raises(UserError, match="there is nothing to compare"):
        models.pairs(plans.plan(ids))


def test_models_come_in_evaluation_mode_with_their_common_view(tmp_path: Path) -> None:
    for model in IDS:
        save(tmp_path, model)
    found, view = models.load(IDS, tmp_path, classes=NAMES, device=torch.device("cpu"))
    assert list(found) == IDS
    assert view == VIEW
    assert not any(model.training for model in found.values())


def test_models_of_other_classes_or_other_pixels_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "a")
    save(tmp_path, "b", classes=("ant", "bee", "cow"))
    save(tmp_path, "c", view=View(32, (0.1, 0.1, 0.1), VIEW.std))
    for other, message in (("b", "other classes"), ("c", "unlike the models before it"), ("d", "no such file")):
        with pytest.raises(UserError, match=rf"{other}.safetensors: .*{message}"):
            models.load(["a", other], tmp_path, classes=NAMES, device=torch.device("cpu"))
