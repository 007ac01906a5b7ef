"""The real `dvc repro`, whole, with a ResNet in place of the VGG as baseline and as student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deepcompress.models import checkpoint
from tests import pipeline

pytestmark = [pytest.mark.smoke, pytest.mark.slow]
RESNET: dict[str, Any] = {"arch": "resnet18", **dict.fromkeys(("batch_norm", "width", "hidden", "dropout"))}
OVERLAY: dict[str, Any] = {
    "model": RESNET,
    "distill": {"student": RESNET},
    "sensitivity": {"samples": 16},
    "quant": {"calibration": {"samples": 16}},
}


def test_every_stage_runs_on_a_resnet(tmp_path: Path) -> None:
    project = pipeline.copy(tmp_path / "deepcompress")
    project.set(OVERLAY)
    project.repro()
    assert "Data and pipelines are up to date." in project.dvc("status")
    models = {
        path.relative_to(project.folder / "models").with_suffix("").as_posix(): checkpoint.load(path).model.spec
        for path in (project.folder / "models").rglob("*.safetensors")
    }
    assert {spec.arch for name, spec in models.items() if not name.startswith("teachers/")} == {"resnet18"}
    assert models["shipped/quantized"].to_dict()["widths"]["layer1.0.conv1"][0] < 64
    assert (project.folder / "models/deploy/shipped_int8.onnx").stat().st_size > 0
