"""The combine section: which orders of steps are possible, and what each mistake is answered."""

from __future__ import annotations

from typing import Any

import pytest

from deepcompress import params
from deepcompress.combine.settings import Combine, require_lesson
from deepcompress.distillation.settings import Distill
from deepcompress.errors import UserError
from tests.house import ROOT

DOCUMENT = params.read(ROOT / "params.yaml")


def combine(models: dict[str, list[str]], **changes: str) -> Combine:
    section: dict[str, Any] = {"method": "hint_logit", "teacher": "baseline", "models": models, **changes}
    return params.validate(Combine, section, "combine")


def test_each_order_that_can_work_passes() -> None:
    for steps in (["prune"], ["distill", "quantize"], ["prune", "distill", "quantize"]):
        assert combine({"one": steps}).steps("one") == tuple(steps)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["prune", "shrink"], "models.one must be a list of .*distill.*prune.*quantize.*; got 'shrink'"),
        (["distill", "prune"], "models.one: prune must come first"),
        (["quantize", "distill"], "models.one: quantize must come last"),
        (["prune", "prune"], "each once"),
        ([], "one or more steps"),
    ],
)
def test_an_order_that_cannot_work_is_refused(steps: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        combine({"one": steps})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "hints"}, "combine.method must be one of logit, .*; got 'hints'"),
        (
            {"teacher": "teachers/vgg13"},
            "combine.teacher must be one of baseline, teachers/vgg16; got 'teachers/vgg13'",
        ),
    ],
)
def test_an_unknown_method_or_teacher_is_refused(changes: dict[str, str], message: str) -> None:
    distill = params.validate(Distill, DOCUMENT["distill"], "distill")
    with pytest.raises(UserError, match=message):
        require_lesson(combine({"one": ["distill"]}, **changes), distill, ["vgg16"])
    require_lesson(combine({"one": ["prune"]}, **changes), distill, ["vgg16"])


def test_a_taught_model_is_compared_with_the_one_that_went_the_same_way_alone() -> None:
    models = {"a": ["prune", "distill"], "b": ["prune", "distill", "quantize"], "c": ["prune", "quantize"]}
    pairs = [("combined/a", "shipped/pruned"), ("combined/b", "shipped/quantized")]
    assert combine(models).model_pairs() == pairs


def test_a_model_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"combine\.models has no 'two'; it has one"):
        combine({"one": ["prune"]}).steps("two")
