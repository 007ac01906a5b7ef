"""The real `dvc repro`, whole, with a ResNet in place of the VGG as baseline and as student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deepcompress.models import checkpoint
from tests import pipeline

pytestmark = [pytest.mark.smoke, pytest.mark.slow]
RESNET: dict[str, Any] = {"arch": "resnet18", **dict.fromkeys(("batch_norm", "width", "hidden", "dropout"))}
OVERLAY: dict[str, Any] = {
    "model": RESNET,
    "distill": {"student": RESNET},
    "sensitivity": {"samples": 16},
    "quant": {"rounding": "nearest", "calibration": {"samples": 16}},  # gptq takes a minute on each of 25 such models
}


def test_every_stage_runs_on_a_resnet(tmp_path: Path) -> None:
    project = pipeline.copy(tmp_path / "deepcompress")
    project.set(OVERLAY)
    project.repro()
    assert "Data and pipelines are up to date." in project.dvc("status")
    models = {
        path.relative_to(project.folder / "models").with_suffix("").as_posix(): checkpoint.load(path).model
        for path in (project.folder / "models").rglob("*.safetensors")
    }
    assert {model.spec.arch for name, model in models.items() if not name.startswith("teachers/")} == {"resnet18"}
    weights = {name: sum(map(torch.numel, models[name].parameters())) for name in ("baseline", "shipped/quantized")}
    assert weights["shipped/quantized"] < 0.5 * weights["baseline"]  # prune.sparsity is 0.6
    assert (project.folder / "models/deploy/shipped_int8.onnx").stat().st_size > 0
