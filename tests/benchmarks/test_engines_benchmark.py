"""The benchmark of engines on two tiny networks: a row per form with accuracies and times, and what a peer is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import engines
from deepcompress import runtime
from deepcompress.data.batches import View
from deepcompress.data.store import write_fit, write_heldout
from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.models import checkpoint
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from tests.data import inputs


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / ".scratch"))
    monkeypatch.setattr(engines, "ENGINES", ("pytorch", "onnxruntime_int8"))
    source = inputs.source(train=24, test=6)
    meta = write_fit(tmp_path / "fit", source, validation_fraction=0.5, seed=0)
    write_heldout(tmp_path / "heldout", source, meta=meta)
    for name, width in (("dense", 4), ("narrow", 2)):
        network = VGG(VGGSpec("vgg11", False, (width,) * 8, (5, 5), len(inputs.CLASSES), 32, 0.5))
        view = View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        checkpoint.save(tmp_path / f"{name}.safetensors", network, view=view, classes=inputs.CLASSES, provenance={})
    return [str(tmp_path / "dense.safetensors"), str(tmp_path / "narrow.safetensors"), "--data", str(tmp_path)]


def test_a_row_per_form_compares_with_the_first(arguments: list[str]) -> None:
    shown = CliRunner().invoke(engines.main, [*arguments, "--rounds", "1", "--heldout"], catch_exceptions=False)
    title, _, *rows = [line.strip("| ").split(" | ") for line in shown.output.splitlines() if line.startswith("|")]
    assert title[2] == "Top-1 %, n = 6"
    assert [row[:2] for row in rows] == [
        [name, engine] for name in ("dense", "narrow") for engine in ("pytorch", "onnxruntime_int8")
    ]
    assert rows[0][3:6:2] == ["", "1.0×"]
    assert {len(row) for row in rows} == {8}


def test_a_peer_is_given_the_dense_network_and_the_calibration_images(arguments: list[str], tmp_path: Path) -> None:
    CliRunner().invoke(engines.main, [*arguments, "--export", str(tmp_path)], catch_exceptions=False)
    images = np.load(tmp_path / "images.npy")
    assert images.shape == (12, 3, 32, 32)
    assert OnnxClassifier(tmp_path / "dense.onnx").run(images).shape == (12, 3)
    assert not list(tmp_path.glob("narrow*.onnx"))
