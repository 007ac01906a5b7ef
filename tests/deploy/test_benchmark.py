"""Timing models in every engine: what each is fed, with how many threads, and what a row says."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepcompress import params
from deepcompress.data.batches import View
from deepcompress.data.store import read_meta, write_fit
from deepcompress.deploy import benchmark
from deepcompress.deploy.integers import Deployable
from deepcompress.deploy.settings import Benchmark, Deploy
from tests import nets
from tests.data import inputs
from tests.deploy.conftest import save
from tests.house import ROOT

FLOAT, INT8 = "onnxruntime", "onnxruntime_int8"
DEPLOY = params.section(Deploy, "deploy", ROOT / "params.yaml").model_copy(update={"calibration_samples": 4})


def test_each_model_is_fed_images_of_its_size_and_threads_are_as_before_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fit(tmp_path / "fit", inputs.source(train=12, test=3), validation_fraction=0.25, seed=0)
    meta = read_meta(tmp_path / "fit")
    fed: list[tuple[str, int, tuple[int, ...]]] = []

    def recorder(name: str) -> SimpleNamespace:
        def load(deployable: Deployable) -> Callable[[np.ndarray], np.ndarray]:
            assert deployable.meta == meta  # as `export` has it

            def call(pixels: np.ndarray) -> np.ndarray:
                fed.append((name, torch.get_num_threads(), pixels.shape))
                return np.zeros((len(pixels), len(nets.CLASSES)))

            return call

        return SimpleNamespace(FLOAT_FORM=name, missing=lambda: None, load=load)

    monkeypatch.setattr(benchmark, "BASELINE", "large")
    engines = {name: recorder(name) for name in (benchmark.PYTORCH, FLOAT)}
    monkeypatch.setattr(benchmark, "available", lambda names: ({name: engines[name] for name in names}, {}))
    models = {name: tmp_path / f"{name}.safetensors" for name in ("small", "large")}
    for path, size in zip(models.values(), (32, 64), strict=True):
        view = View(size, nets.VIEW.mean, nets.VIEW.std)
        save(path, nets.vgg(image_size=size), view=view, classes=nets.CLASSES)
    before = torch.get_num_threads()
    settings = Benchmark(
        models=None, engines=(benchmark.PYTORCH, FLOAT), batch_sizes=(1, 2), warm_up=0, rounds=1, threads=before + 1
    )
    rows = benchmark.latencies(models, tmp_path / "fit", settings, DEPLOY, seed=0)
    assert torch.get_num_threads() == before
    assert {threads for _, threads, _ in fed} == {before + 1}
    assert {shape for *_, shape in fed} == {(1, 3, 32, 32), (2, 3, 32, 32), (1, 3, 64, 64), (2, 3, 64, 64)}
    calls = [(engine, shape) for engine, _, shape in fed]
    looked_at = 1  # untimed, at the end
    assert calls.count((benchmark.PYTORCH, (1, 3, 32, 32))) == 1 + benchmark.PAPER_RUNS + looked_at
    assert calls.count((FLOAT, (2, 3, 32, 32))) == 1 + looked_at
    assert len(rows) == 2 * 2 * 2


def test_a_row_by_hand_compares_with_the_dense_float_model_in_the_same_engine() -> None:
    forms = {benchmark.PYTORCH: benchmark.PYTORCH, FLOAT: FLOAT, INT8: FLOAT}
    times = {
        ("baseline", benchmark.PYTORCH, 1): np.array([12.0]),
        ("baseline", FLOAT, 1): np.array([8.0]),
        ("small", benchmark.PYTORCH, 1): np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
        ("small", INT8, 1): np.array([2.0]),
        ("small", benchmark.PYTORCH, 32): np.array([20.0]),
    }
    *_, eager, integers, alone = [benchmark._row(key, times, {"small": 3.5, "baseline": 12.5}, forms) for key in times]
    assert [eager.pop(f"latency_ms_p{part}") for part in (25, 50, 75)] == [2.0, 3.0, 4.0]
    place = {"model": "small", "engine": benchmark.PYTORCH, "batch_size": 1}
    assert eager == {**place, "n": 5, "speedup": 4.0, "paper_protocol_ms": 3.5}
    assert integers["speedup"] == 4.0  # int8 against float in ONNX Runtime: 8 by 2, not 12 by 2
    assert integers["paper_protocol_ms"] is None
    assert alone["speedup"] is None  # without the baseline at that batch size there is nothing to compare with
    assert alone["paper_protocol_ms"] is None
