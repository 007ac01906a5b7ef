"""The `teachers` and `distill` sections: what they allow, and one clear line for each mistake."""

from __future__ import annotations

import copy
import functools
import operator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepcompress import params
from deepcompress.distillation.settings import Distill, Teachers, require_teachers
from deepcompress.errors import UserError
from deepcompress.training.recipe import Network
from tests.stages.commands import network

NETWORK = network("vgg11")
DOCUMENT: dict[str, Any] = {
    "teachers": {"vgg16": network("vgg16"), "vgg16_jitter": network("vgg16")},
    "distill": {
        "student": NETWORK,
        "cache_budget_mib": 64,
        "methods": {"logit": {"cross_entropy": 0.1, "weight": 0.9}, "hint": {}, "crd": {"weight": 0.5}},
        "mixtures": {"crd_logit": {"cross_entropy": 0.5, "losses": {"crd": 0.8, "logit": 2.0}}},
        "controls": {"independent": {"label_smoothing": 0.0}, "label_smoothing": {"label_smoothing": 0.1}},
        "teachers": ["vgg16"],
        "selected": {"methods": ["logit"], "teachers": ["vgg16_jitter"]},
    },
}


@pytest.fixture
def write(tmp_path: Path):
    """params.yaml with one dotted key set to a value."""

    def make(key: str = "distill.cache_budget_mib", value: Any = 64) -> Path:
        document = copy.deepcopy(DOCUMENT)
        *parents, last = key.split(".")
        functools.reduce(operator.getitem, parents, document)[last] = value
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    return make


def distill(path: Path) -> Distill:
    return params.section(Distill, "distill", path)


def test_every_method_and_mixture_is_tried_with_every_teacher(write) -> None:
    assert distill(write()).taught() == [
        ("logit", "vgg16"),
        ("hint", "vgg16"),
        ("crd", "vgg16"),
        ("crd_logit", "vgg16"),
        ("logit", "vgg16_jitter"),
    ]


def test_teachers_keep_the_order_of_the_file(write) -> None:
    teachers = params.section(Teachers, "teachers", write())
    assert teachers.names() == ["vgg16", "vgg16_jitter"]
    first = params.section(Network, "teachers.vgg16", write())
    assert (first.arch, first.recipe.epochs) == ("vgg16", 2)
    require_teachers(distill(write()), teachers)


@pytest.mark.parametrize(
    ("name", "cross_entropy", "weights"),
    [("logit", 0.1, {"logit": 0.9}), ("crd_logit", 0.5, {"crd": 0.8, "logit": 2.0})],
)
def test_a_mixture_has_its_own_weights_and_the_methods_options(write, name, cross_entropy, weights) -> None:
    labels, losses = distill(write("distill.methods.logit.temperature", 5.0)).weighted(name)
    assert labels == cross_entropy
    assert {loss: weight for loss, (weight, _) in losses.items()} == weights
    assert losses["logit"][1].temperature == 5.0


def test_what_a_student_used_does_not_hold_the_options_of_others(write) -> None:
    configs = [distill(write("distill.methods.crd.weight", weight)) for weight in (0.5, 0.6)]
    for name, taught, equal in (("logit", True, True), ("independent", False, True), ("crd", True, False)):
        first, second = (config.provenance_params(name, taught=taught) for config in configs)
        assert (first == second) == equal
    assert configs[0].provenance_params("crd_logit", taught=True)["losses"]["crd"]["weight"] == 0.8


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("distill.methods.kd", {}, "distill.methods.kd is unknown; allowed: "),
        ("distill.methods.logit.temprature", 3.0, "distill.methods.logit.temprature is unknown; allowed: "),
        ("distill.methods.hint.stages", 3, "distill.methods.hint.stages must be 1 or 2, got 3"),
        ("distill.mixtures.crd_logit.losses.kd", 1.0, "distill.mixtures.crd_logit.losses must be among "),
        ("distill.mixtures.crd_logit.weight", 1.0, "crd_logit.weight is unknown; allowed: cross_entropy, losses"),
        ("distill.mixtures.crd_logit.losses.crd", 0.0, "losses.crd must be above 0, got 0.0"),
        ("distill.mixtures.logit", DOCUMENT["distill"]["mixtures"]["crd_logit"], "logit is a method, so no mixture"),
        ("distill.selected.methods", ["dkd"], "selected.methods must be among logit, hint, crd; got 'dkd'"),
        ("distill.controls.a-b", {"label_smoothing": 0.0}, "'a-b' is no name; use small letters"),
    ],
)
def test_a_mistake_in_distill_is_one_clear_line(write, key: str, value: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        distill(write(key, value))
    assert message in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("teachers.vgg16.arch", "resnet", "teachers.vgg16.arch: no step knows a network 'resnet'"),
        ("teachers.vgg16.heads", 1, "teachers.vgg16.heads is unknown; allowed: arch, batch_norm"),
        ("teachers.vgg16.recipe.epoch", 1, "teachers.vgg16.recipe.epoch is unknown; allowed: trainable, batch_size"),
        ("teachers.VGG", NETWORK, "'VGG' is no name"),
    ],
)
def test_a_mistake_in_teachers_is_one_clear_line(write, key: str, value: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        params.section(Teachers, "teachers", write(key, value))
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["distill.teachers", "distill.selected.teachers"])
def test_an_unknown_teacher_lists_those_there_are(write, key: str) -> None:
    path = write(key, ["vgg12"])
    with pytest.raises(UserError, match=rf"{key} must be among vgg16, vgg16_jitter; got 'vgg12'"):
        require_teachers(distill(path), params.section(Teachers, "teachers", path))
    with pytest.raises(UserError, match=r"distill.teachers must be \[\], for teachers is empty; got 'vgg1"):
        require_teachers(distill(path), Teachers())


def test_no_teacher_is_called_baseline(write) -> None:
    path = write("teachers.baseline", NETWORK)
    with pytest.raises(UserError, match=r"teachers.baseline: that name is the baseline's own; choose another"):
        require_teachers(distill(path), params.section(Teachers, "teachers", path))


def test_unknown_methods_and_controls_list_what_there_is(write) -> None:
    config = distill(write())
    with pytest.raises(UserError, match=r"distill.methods has no 'dkd'; it has logit, hint, crd, crd_logit"):
        config.weighted("dkd")
    with pytest.raises(UserError, match=r"distill.controls has no 'logit'; it has independent, label_smoothing"):
        config.control("logit")
