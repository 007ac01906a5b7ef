"""A model's seconds are those of the stages that dvc.yaml makes it by, each counted once."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pandas as pd
import pytest
import yaml

from deepcompress import params, plan
from deepcompress.report import stage_times
from deepcompress.report.tables import Tables
from tests.house import ROOT

DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
PLAN = plan.table(params.read(ROOT / "params.yaml"))
SECONDS = {
    "finetune": 100.0,
    "sensitivity@structured": 7.0,
    "prune": 20.0,
    "quantize": 3.0,
    "prune_sweep@structured-0.5": 19.0,
    "train_teacher@vgg16": 200.0,
    "distill@logit-vgg16": 15.0,
    "distill_alone@independent": 14.0,
    "combine_quantize@prune_quantize": 16.0,
}


def times(data: Tables, seconds: dict[str, float]) -> dict[str, Any]:
    ran = pd.DataFrame({"stage": list(seconds), "seconds": list(seconds.values())})
    planned = pd.DataFrame([dataclasses.asdict(row) for row in PLAN])
    extra = {stage_times.NAME: ran, stage_times.PLAN: planned}
    return stage_times.of_models(dataclasses.replace(data, models=pd.DataFrame({"model": PLAN.ids}), extra=extra))


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
        ("combined/prune_quantize", 16, 100 + 7 + 20 + 16),
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


def test_every_stage_that_writes_models_is_the_one_that_the_plan_names() -> None:
    """An address in dvc.yaml such as `distill@${key}` and the ids of its outputs, against the plan's column."""
    writers = set()
    for name, body in DVC.items():
        outs = body.get("do", body)["outs"]
        if any(isinstance(out, str) and re.fullmatch(r"models/.*\.safetensors", out) for out in outs):
            writers.add(name)
    named = {str(row.stage).partition("@")[0] for row in PLAN}
    assert named <= writers
    assert writers - named <= {"combine_prune"}  # the default prunes no other network than the baseline
