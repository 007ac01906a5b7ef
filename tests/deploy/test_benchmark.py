"""Timing models in every engine: what each is fed, which engines it has, and what a row says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepcompress import params
from deepcompress.data.batches import View
from deepcompress.data.store import write_fit
from deepcompress.deploy import benchmark
from deepcompress.deploy.benchmark_settings import Benchmark
from deepcompress.deploy.settings import Deploy
from deepcompress.measure.latency import Times
from deepcompress.models import checkpoint
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from tests.data import inputs
from tests.house import ROOT

HOW = Benchmark(models=None, batch_sizes=(1, 2), warm_up=0, rounds=1, threads=1)
DEPLOY = params.section(Deploy, "deploy", ROOT / "params.yaml").model_copy(update={"calibration_samples": 4})


def save(folder: Path, model: str, size: int) -> Path:
    torch.manual_seed(size)
    network = VGG(VGGSpec("vgg11", False, (2, 2, 3, 3, 4, 4, 4, 4), (5, 5), len(inputs.CLASSES), size, 0.5))
    path = folder / f"{model}.safetensors"
    view = View(size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    checkpoint.save(path, network, view=view, classes=inputs.CLASSES, provenance={})
    return path


def test_models_that_see_images_of_different_sizes_are_each_fed_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fit(tmp_path / "fit", inputs.source(train=12, test=3), validation_fraction=0.25, seed=0)
    models = {name: save(tmp_path, name, size) for name, size in (("student", 32), ("baseline", 64))}
    fed: list[tuple[str, str, tuple[int, ...]]] = []

    def engines(model: str, *_: Any) -> dict[str, benchmark.Call]:
        def call(engine: str) -> benchmark.Call:
            return lambda pixels: fed.append((model, engine, pixels.shape))

        return {engine: call(engine) for engine in (benchmark.PYTORCH, benchmark.FLOAT)}

    monkeypatch.setattr(benchmark, "_engines", engines)
    benchmark.latencies(models, tmp_path / "fit", HOW, DEPLOY, seed=0)
    assert {shape for model, _, shape in fed if model == "student"} == {(1, 3, 32, 32), (2, 3, 32, 32)}
    assert {shape for model, _, shape in fed if model == "baseline"} == {(1, 3, 64, 64), (2, 3, 64, 64)}
    runs = [shape for model, engine, shape in fed if (model, engine) == ("student", benchmark.PYTORCH)]
    assert runs.count((1, 3, 32, 32)) == 1 + benchmark.PAPER_RUNS


def test_threads_are_as_before_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fit(tmp_path / "fit", inputs.source(train=12, test=3), validation_fraction=0.25, seed=0)
    before, seen = torch.get_num_threads(), []
    call = {benchmark.PYTORCH: lambda _: seen.append(torch.get_num_threads())}
    monkeypatch.setattr(benchmark, "_engines", lambda *_: call)
    how = HOW.model_copy(update={"threads": before + 1})
    benchmark.latencies({"baseline": save(tmp_path, "baseline", 32)}, tmp_path / "fit", how, DEPLOY, seed=0)
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_a_row_by_hand_compares_with_the_dense_float_model_in_the_same_engine() -> None:
    times = {
        ("baseline", benchmark.PYTORCH, 1): Times((0.012,)),
        ("baseline", benchmark.FLOAT, 1): Times((0.008,)),
        ("small", benchmark.PYTORCH, 1): Times((0.001, 0.002, 0.003, 0.004, 0.005)),
        ("small", benchmark.INT8, 1): Times((0.002,)),
        ("small", benchmark.PYTORCH, 32): Times((0.02,)),
    }
    rows = [benchmark._row(key, found, times, {"small": 3.5, "baseline": 12.5}) for key, found in times.items()]
    *_, eager, integers, alone = rows
    assert eager == {
        "model": "small",
        "engine": benchmark.PYTORCH,
        "batch_size": 1,
        "latency_ms_p50": 3.0,
        "latency_ms_p25": 2.0,
        "latency_ms_p75": 4.0,
        "n": 5,
        "speedup": 4.0,
        "paper_protocol_ms": 3.5,
    }
    assert integers["speedup"] == 4.0  # int8 against float in ONNX Runtime: 8 by 2, not 12 by 2
    assert integers["paper_protocol_ms"] is None
    assert alone["speedup"] is None  # without the baseline at that batch size there is nothing to compare with
    assert alone["paper_protocol_ms"] is None


def test_int8_files_are_made_of_the_baseline_and_of_models_with_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, made = checkpoint.load(save(tmp_path, "any", 32)), []
    monkeypatch.setattr(benchmark.graph, "export_float", lambda *_, **__: None)
    monkeypatch.setattr(benchmark.int8, "quantize_int8", lambda *_, **__: made.append(1))
    monkeypatch.setattr(benchmark, "Classifier", lambda *_: type("C", (), {"answers": staticmethod(len)}))
    images = np.zeros((4, 3, 32, 32), np.uint8)
    arguments = (loaded, {}, tmp_path, images, DEPLOY, 1)
    assert benchmark.INT8 in benchmark._engines("baseline", *arguments)
    assert benchmark.INT8 not in benchmark._engines("pruned/structured-0.5", *arguments)
    monkeypatch.setattr(checkpoint.Checkpoint, "integer_tensors", ["classifier.0.weight"])
    assert benchmark.INT8 in benchmark._engines("quantized/ptq-int8", *arguments)
    assert len(made) == 2
    monkeypatch.setattr(benchmark.int4, "quantize_int4", lambda *_: made.append(1))
    halves = {"classifier.0.weight": QuantizedWeight.quantize(torch.ones(1, 1), 4)}
    few = benchmark._engines("quantized/ptq-int4", loaded, halves, *arguments[2:])
    assert {benchmark.INT8, benchmark.INT4} <= set(few)
    assert len(made) == 4
