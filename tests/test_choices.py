"""What params.yaml chooses for a stage: its plug-ins' code and a link's settings, and nothing that it does not use."""

import copy
import re
from typing import Any

import pytest

from deepcompress import code_hash, dependencies, params
from tests.docs import pages
from tests.house import ROOT, STAGES

DOCUMENT = params.read(ROOT / "params.yaml")
CODE = code_hash.hashes(ROOT)


def keys(document: dict[str, Any] = DOCUMENT, code: code_hash.Hashes = CODE) -> dict[str, object]:
    """Each key of results/choices.json that a stage may name, and what lies there."""
    chosen = dependencies.choices(document, code)
    places = {f"code.{step}.{name}": used for step, names in chosen["code"].items() for name, used in names.items()}
    for kind in ("code", "settings"):
        for step, links in chosen[kind]["combine"].items():
            places |= {f"{kind}.combine.{step}.{name}": used for name, used in links.items()}
    return {place: used for place, used in places.items() if not re.fullmatch(r"code\.combine\.\w+", place)}


def changes(before: dict[str, object], after: dict[str, object]) -> set[str]:
    """Keys under which something else lies."""
    return {key for key in before | after if before.get(key) != after.get(key)}


@pytest.mark.parametrize(
    ("key", "value", "links"),
    [
        ("quant.bits", 4, {"prune_quantize", "distill_quantize", "prune_distill_quantize"}),
        ("quant.qat.epochs", 9, set()),  # none of them trains with rounded weights
        ("quant.sweep", ["ptq-int8"], set()),
        ("prune.sparsity", 0.7, set()),
        ("prune.structured.criterion", "taylor", set()),
        ("prune.unstructured.criterion", "taylor", {"sparse95", "narrow_sparse"}),
        ("distill.methods.logit.temperature", 9.0, {"prune_distill", "sparse95_distill"}),
        ("distill.methods.dkd.alpha", 9.0, set()),
        ("recipe.batch_size", 9, {"sparse95", "narrow_sparse", "prune_distill", "sparse95_distill"}),
    ],
)
def test_a_key_changes_what_decides_about_those_links_alone_that_go_by_it(
    key: str, value: object, links: set[str]
) -> None:
    document = params.read_as_written(ROOT / "params.yaml")
    found = changes(keys(), keys(params.filled(pages.merged(document, pages.at(key, value)))))
    assert {place.rpartition(".")[2] for place in found if place.startswith("settings.")} == links


LOGIT = {"distill.logit", "distill.hint_logit", "combine.distill.prune_distill", "combine.distill.sparse95_distill"}


@pytest.mark.parametrize(
    ("plugin", "users"),
    [
        ("distillation.losses.crd", {"distill.crd"}),
        ("distillation.losses.logit", LOGIT),
        ("distillation.losses.sp", set()),  # the default has no student of it
        ("distillation.losses.new", set()),
        ("pruning.criteria.bn_scale", {"sensitivity.structured", "prune.structured"}),
        ("pruning.allocations.erk", {"prune.structured"}),
        ("pruning.allocations.lamp", {"prune.unstructured", "combine.prune.sparse95", "combine.prune.narrow_sparse"}),
        ("pruning.allocations.new", set()),
        (
            "quantization.formats.floats",
            {
                f"quantize.{mode}-{form}"
                for mode, form in (("ptq", "fp16"), ("ptq", "bf16"), ("qat", "fp16"), ("qat", "bf16"), ("qat", "fp32"))
            },
        ),
        ("quantization.formats.new", set()),
        ("deploy.engines.onnxruntime", {"benchmark.engines"}),
        ("deploy.engines.torchao", set()),
    ],
)
def test_a_plug_in_that_changed_or_is_new_is_the_business_of_its_users_alone(plugin: str, users: set[str]) -> None:
    other = copy.deepcopy(CODE)
    package, room, name = plugin.split(".")
    other[package][room][name] = "changed"
    assert changes(keys(), keys(code=other)) == {f"code.{user}" for user in users}


@pytest.mark.parametrize("key", ["first_bits", "last_bits"])
def test_a_layer_in_another_format_brings_the_code_of_that_format(key: str) -> None:
    found = keys(pages.merged(copy.deepcopy(DOCUMENT), pages.at(f"quant.{key}", 16)))
    assert found["code.quantize.ptq-int4"] == {
        name: params.at(CODE, name) for name in ("quantization.formats.intn", "quantization.formats.floats")
    }
    assert set(found["code.quantize.ptq-fp16"]) == {"quantization.formats.floats"}


def test_every_choice_is_that_of_a_stage_and_every_stage_finds_its_own() -> None:
    named = {
        key.replace("${prune.method}", "${item.method}")
        for body in STAGES.values()
        for entry in body.get("params", ())
        if isinstance(entry, dict)
        for key in entry.get("results/choices.json") or ()
    }
    patterns = [re.compile(re.sub(r"\\\$\\{.*?\\}", "[^.]+", re.escape(key))) for key in named]
    for key in keys():
        assert any(pattern.fullmatch(key) for pattern in patterns), f"{key} is of no stage"
    for pattern in patterns:
        assert any(pattern.fullmatch(key) for key in keys()), f"{pattern.pattern} is not there"


@pytest.mark.parametrize("step", ["prune", "distill", "quantize"])
def test_links_depend_on_what_decides_about_them_and_on_no_section_of_a_step(step: str) -> None:
    named = STAGES[f"combine_{step}"]["params"]
    own = [f"{kind}.combine.{step}.${{key}}" for kind in ("code", "settings")]
    assert {"results/choices.json": own} in named
    assert {key for key in named if isinstance(key, str)} <= {"seed", "train", "distill.cache_budget_mib"}
