"""A model's seconds are those of the stages that dvc.yaml makes it by, each counted once."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pandas as pd
import pytest
import yaml

from deepcompress.report import stage_times
from deepcompress.report.tables import Tables
from tests.house import ROOT

DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
SECONDS = {
    "finetune": 100.0,
    "sensitivity@structured": 7.0,
    "prune": 20.0,
    "quantize": 3.0,
    "prune_sweep@structured-0.5": 19.0,
    "train_teacher@vgg16": 200.0,
    "distill@logit-vgg16": 15.0,
    "distill_alone@independent": 14.0,
    "combine@prune_quantize": 16.0,
}
MODELS = ("baseline", "masked/structured-0.5", "pruned/structured-0.5", "shipped/pruned", "shipped/quantized",
          "teachers/vgg16", "students/logit-vgg16", "students/independent", "combined/prune_quantize",
          "quantized/ptq-int4")  # fmt: skip
PARAMS = {"prune": {"method": "structured"}, "combine": {"models": {"prune_quantize": ["prune", "quantize"]}}}


def times(data: Tables, seconds: dict[str, float], models: tuple[str, ...] = MODELS) -> dict[str, Any]:
    ran = pd.DataFrame({"stage": list(seconds), "seconds": list(seconds.values())})
    some = pd.DataFrame({"model": models})
    return stage_times.of_models(dataclasses.replace(data, models=some, params=PARAMS, extra={stage_times.NAME: ran}))


@pytest.mark.parametrize(
    ("model", "own", "total"),
    [
        ("baseline", 100, 100),
        ("pruned/structured-0.5", 19, 100 + 7 + 19),
        ("masked/structured-0.5", 19, 100 + 7 + 19),
        ("shipped/pruned", 20, 100 + 7 + 20),
        ("shipped/quantized", 3, 100 + 7 + 20 + 3),
        ("teachers/vgg16", 200, 200),
        ("students/logit-vgg16", 15, 200 + 15),
        ("students/independent", 14, 14),
        ("combined/prune_quantize", 16, 100 + 7 + 16),
    ],
)
def test_a_model_takes_its_stage_and_those_that_it_builds_on(
    data: Tables, model: str, own: float, total: float
) -> None:
    assert times(data, SECONDS)[model] == (own, total)


def test_a_stage_that_did_not_run_here_leaves_the_sum_open(data: Tables) -> None:
    own, total = times(data, SECONDS)["quantized/ptq-int4"]
    assert math.isnan(own)
    assert math.isnan(total)
    own, total = times(data, {"prune": 20.0})["shipped/pruned"]
    assert own == 20
    assert math.isnan(total)
    assert stage_times.of_models(dataclasses.replace(data, extra={})) == {}


def addresses() -> list[tuple[str, str]]:
    """(address of a stage, id of a model that it writes) for every stage of dvc.yaml that writes some."""
    found = []
    for name, body in DVC.items():
        body = body.get("do", body)
        made = [re.fullmatch(r"models/(.*)\.safetensors", out) for out in body["outs"] if isinstance(out, str)]
        for model in (match[1] for match in made if match):
            key = re.sub(r"\$\{.*?\}", "x", model.partition("/")[2])
            found.append((f"{name}@{key}" if "${" in model else name, re.sub(r"\$\{.*?\}", "x", model)))
    return found


@pytest.mark.parametrize(("stage", "model"), addresses())
def test_every_stage_that_writes_a_model_is_the_one_whose_seconds_it_gets(data: Tables, stage: str, model: str) -> None:
    assert times(data, {stage: 5.0}, (model,))[model][0] == 5


def test_all_families_of_models_are_among_what_stages_write() -> None:
    made = {model.partition("/")[0] for _, model in addresses()}
    assert made == {*stage_times.SWEPT, "baseline", "shipped"}
