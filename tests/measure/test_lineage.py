"""What models were made from: read from ids and params, never from the files."""

from __future__ import annotations

import pytest

from deepcompress.measure.lineage import Lineage

MODELS = (
    "baseline",
    "masked/structured-0.5",
    "pruned/structured-0.5",
    "quantized/ptq-int8",
    "shipped/pruned",
    "shipped/quantized",
    "teachers/vgg16",
    "students/independent",
    "students/hint_logit-vgg16",
    "combined/prune_quantize",
    "combined/distill_quantize",
    "combined/prune_distill",
)
STEPS = {name: name.split("_") for name in ("prune_quantize", "distill_quantize", "prune_distill")}


def lineage(teacher: str = "baseline") -> Lineage:
    return Lineage(MODELS, {"combine": {"teacher": teacher, "models": STEPS}})


@pytest.mark.parametrize(
    ("model", "foundations"),
    [
        ("baseline", []),
        ("masked/structured-0.5", ["baseline"]),
        ("pruned/structured-0.5", ["baseline"]),
        ("quantized/ptq-int8", ["baseline"]),
        ("shipped/pruned", ["baseline"]),
        ("shipped/quantized", ["shipped/pruned"]),
        ("teachers/vgg16", []),
        ("students/independent", []),
        ("students/hint_logit-vgg16", ["teachers/vgg16"]),
        ("combined/prune_quantize", ["baseline"]),
        ("combined/distill_quantize", ["teachers/vgg16"]),
        ("combined/prune_distill", ["baseline", "teachers/vgg16"]),
    ],
)
def test_a_model_builds_on_its_teacher_or_on_what_it_was_made_from(model: str, foundations: list[str]) -> None:
    assert lineage("teachers/vgg16").foundations(model) == foundations


def test_the_baseline_as_teacher_is_named_once() -> None:
    assert lineage().foundations("combined/prune_distill") == ["baseline"]
    assert lineage().foundations("combined/distill_quantize") == ["baseline"]


def test_all_below_a_model_is_listed_once_with_itself() -> None:
    assert lineage().below("shipped/quantized") == ["shipped/quantized", "shipped/pruned", "baseline"]
    taught = lineage("teachers/vgg16").below("combined/prune_distill")
    assert sorted(taught) == ["baseline", "combined/prune_distill", "teachers/vgg16"]


def test_only_models_of_the_plan_are_below_others() -> None:
    assert Lineage(("shipped/quantized",), {}).below("shipped/quantized") == ["shipped/quantized"]
    assert Lineage(("students/dkd-vgg16",), {}).teacher("students/dkd-vgg16") is None


def test_params_without_combined_models_say_nothing_of_them() -> None:
    alone = Lineage(("baseline", "combined/other"), {})
    assert alone.steps("combined/other") == []
    assert alone.below("combined/other") == ["combined/other", "baseline"]
