"""The `teachers` and `distill` sections: what they say together; tests/test_sections.py has what each refuses."""

from typing import Any

import pytest

from deepcompress import params
from deepcompress.distillation.settings import Distill, Teachers, require_teachers
from deepcompress.errors import UserError
from tests.docs import pages
from tests.stages.commands import network

NETWORK = network("vgg11")
TEACHERS = {"vgg16": network("vgg16"), "vgg16_jitter": network("vgg16")}
DISTILL: dict[str, Any] = {
    "student": NETWORK,
    "cache_budget_mib": 64,
    "methods": {"logit": {"cross_entropy": 0.1, "weight": 0.9}, "hint": {}, "crd": {"weight": 0.5}},
    "mixtures": {"crd_logit": {"cross_entropy": 0.5, "losses": {"crd": 0.8, "logit": 2.0}}},
    "controls": {"independent": {"label_smoothing": 0.0}, "label_smoothing": {"label_smoothing": 0.1}},
    "teachers": ["vgg16"],
    "selected": {"methods": ["logit"], "teachers": ["vgg16_jitter"]},
}


def distill(key: str = "cache_budget_mib", value: Any = 64) -> Distill:
    """The section with another value at a dotted key."""
    return params.validate(Distill, pages.merged(DISTILL, pages.at(key, value)), "distill")


def teachers(**more: Any) -> Teachers:
    return params.validate(Teachers, TEACHERS | more, "teachers")


def test_every_method_and_mixture_is_tried_with_every_teacher() -> None:
    assert distill().taught() == [
        ("logit", "vgg16"),
        ("hint", "vgg16"),
        ("crd", "vgg16"),
        ("crd_logit", "vgg16"),
        ("logit", "vgg16_jitter"),
    ]


@pytest.mark.parametrize(
    ("name", "cross_entropy", "weights"),
    [("logit", 0.1, {"logit": 0.9}), ("crd_logit", 0.5, {"crd": 0.8, "logit": 2.0})],
)
def test_a_mixture_has_its_own_weights_and_the_methods_options(name, cross_entropy, weights) -> None:
    labels, losses = distill("methods.logit.temperature", 5.0).weighted(name)
    assert labels == cross_entropy
    assert {loss: weight for loss, (weight, _) in losses.items()} == weights
    assert losses["logit"][1].temperature == 5.0


def test_what_a_student_used_does_not_hold_the_options_of_others() -> None:
    configs = [distill("methods.crd.weight", weight) for weight in (0.5, 0.6)]
    for name, taught, equal in (("logit", True, True), ("independent", False, True), ("crd", True, False)):
        first, second = (config.provenance_params(name, taught=taught) for config in configs)
        assert (first == second) == equal
    assert configs[0].provenance_params("crd_logit", taught=True)["losses"]["crd"]["weight"] == 0.8


@pytest.mark.parametrize("key", ["teachers", "selected.teachers"])
def test_an_unknown_teacher_lists_those_there_are(key: str) -> None:
    config = distill(key, ["vgg12"])
    with pytest.raises(UserError, match=rf"distill\.{key} must be among vgg16, vgg16_jitter; got 'vgg12'"):
        require_teachers(config, teachers())
    with pytest.raises(UserError, match=r"distill.teachers must be \[\], for teachers is empty; got 'vgg1"):
        require_teachers(config, Teachers())


def test_no_teacher_is_called_baseline() -> None:
    with pytest.raises(UserError, match=r"teachers.baseline: that name is the baseline's own; choose another"):
        require_teachers(distill(), teachers(baseline=NETWORK))


def test_unknown_methods_and_controls_list_what_there_is() -> None:
    config = distill()
    with pytest.raises(UserError, match=r"distill.methods has no 'dkd'; it has logit, hint, crd, crd_logit"):
        config.weighted("dkd")
    with pytest.raises(UserError, match=r"distill.controls has no 'logit'; it has independent, label_smoothing"):
        config.label_smoothing("logit")


@pytest.mark.parametrize(("own", "expected"), [(None, 0.1), (0.0, 0.0), (0.2, 0.2)])
def test_a_control_is_smoothed_as_students_with_a_teacher_where_it_says_nothing_else(own, expected) -> None:
    block = pages.merged(DISTILL, pages.at("student.recipe.label_smoothing", 0.1))
    block["controls"] = {"independent": {"label_smoothing": own}}
    config = params.validate(Distill, block, "distill")
    assert config.label_smoothing("independent") == expected
    used = config.provenance_params("independent", taught=False)
    assert used["control"] == {"independent": {"label_smoothing": expected}}
