"""The benchmark stage: a row per model, engine and batch size, the machine, and the stages that ran."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import Result

from deepcompress import errors, params
from stages import benchmark
from tests import plans
from tests.deploy.conftest import network, save
from tests.house import ROOT
from tests.stages.commands import invoke, well, write_images

ENGINES = ("pytorch", "onnxruntime", "onnxruntime_int8", "onnxruntime_int4")


@pytest.fixture
def project(project: Path) -> Path:
    write_images()
    models = {"baseline": None, "shipped/pruned": None, "quantized/ptq-int4": 4}
    for model, bits in models.items():
        save(project / f"models/{model}.safetensors", network(), bits=bits)
    plans.write(Path("plan.csv"), models)
    document = params.read(ROOT / "params.yaml")
    fast = {"models": None, "engines": list(ENGINES), "batch_sizes": [1, 2], "warm_up": 0, "rounds": 3}
    document["benchmark"] |= fast
    document["deploy"]["calibration_samples"] = 8
    Path("params.yaml").write_text(yaml.safe_dump(document))
    return project


def run() -> Result:
    return invoke(benchmark.main, plan="plan.csv", fit="data/fit", models="models", folder="out")


def test_every_model_is_timed_in_every_engine_and_the_machine_and_the_stages_are_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(errors.STAGE_VARIABLE, "finetune")
    errors.note_seconds()
    monkeypatch.delenv(errors.STAGE_VARIABLE)
    well(run())
    rows = pd.read_csv("out/latency.csv")
    timed = set(zip(rows["model"], rows["engine"], rows["batch_size"], strict=True))
    engines: dict[str, tuple[str, ...]] = {"shipped/pruned": ("pytorch", "onnxruntime")}
    engines["baseline"] = (*engines["shipped/pruned"], "onnxruntime_int8")
    engines["quantized/ptq-int4"] = (*engines["baseline"], "onnxruntime_int4")
    assert timed == {(model, engine, size) for model in engines for engine in engines[model] for size in (1, 2)}
    assert (rows["latency_ms_p25"] <= rows["latency_ms_p50"]).all()
    assert (rows["latency_ms_p50"] <= rows["latency_ms_p75"]).all()
    assert (rows["n"] == 3).all()
    assert (rows[(rows["model"] == "baseline") & (rows["engine"] != "onnxruntime_int8")]["speedup"] == 1).all()
    assert rows["paper_protocol_ms"].notna().sum() == 3
    assert {"processor", "cores", "threads", "torch", "onnxruntime"} <= set(
        json.loads(Path("out/machine.json").read_text())
    )
    assert list(pd.read_csv("out/stages.csv")["stage"]) == ["finetune"]
