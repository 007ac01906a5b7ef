"""The real `dvc repro` on networks of torchvision, timm and the user, to ONNX files that agree with checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deepcompress import files
from deepcompress.models import checkpoint
from tests import pipeline

pytestmark = [pytest.mark.smoke, pytest.mark.slow]
OWN = """from torch import nn


def block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def small(classes: int) -> nn.Module:
    pooled = nn.Sequential(block(3, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2), block(32, 32))
    return nn.Sequential(pooled, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, classes))
"""
TORCHVISION = "resnet18"
ARCHS = {"mynet:small": 32, "timm:resnet18": 32, "timm:mobilenetv3_small_100": 64, "timm:vit_tiny_patch16_224": 64}
LEFT_OUT = (
    "teachers.vgg16_jitter",
    "distill.methods.logit",
    "distill.methods.crd",
    "distill.methods.hint",
    "distill.mixtures.hint_logit.losses.hint",
)


def overlay(arch: str, side: int) -> dict[str, Any]:
    """As few models as show every step; what a network is like stands in place of a VGG's keys."""
    network = {"arch": arch, **dict.fromkeys(("batch_norm", "width", "hidden", "dropout"))}
    return {
        "model": {**network, "image_size": side},
        "finetune": {"epochs": 1},
        "distill": {
            "student": network,
            "teachers": ["vgg16"],
            "methods": {"sp": {"layer": "features"}},
            "mixtures": {"hint_logit": {"losses": {"sp": 1.0}}},
            "selected": {"methods": [], "teachers": []},
        },
        "sensitivity": {"samples": 8},
        "prune": {
            "structured": {"scope": "all", "allocation": "uniform"},
            "unstructured": {"allocation": "uniform"},
            "sweep": {"methods": ["unstructured"]},
        },
        "quant": {"rounding": "nearest", "calibration": {"samples": 8, "inputs": 64}, "sweep": ["ptq-int4"]},
        "explain": {"images": 4, "strip_images": 1},
    }


@pytest.mark.parametrize("arch", [TORCHVISION, *ARCHS])
def test_a_network_goes_all_the_way(arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if arch.startswith("timm:"):
        pytest.importorskip("timm")
    project = pipeline.copy(tmp_path / "deepcompress")
    monkeypatch.syspath_prepend(str(project.folder))
    (project.folder / "mynet.py").write_text(OWN)
    project.set(overlay(arch, ARCHS.get(arch, 32)), remove=LEFT_OUT)
    project.repro()
    made = [path for path in (project.folder / "models").rglob("*.safetensors") if path.parent.name != "teachers"]
    specs = {path.relative_to(project.folder / "models").as_posix(): checkpoint.load(path).model.spec for path in made}
    assert {spec.arch for spec in specs.values()} == {arch}
    assert specs["shipped/quantized.safetensors"].to_dict()["widths"]
    rows = files.read_rows(project.folder / "results/deploy/parity.csv")
    assert {row["agreement_pct"] for row in rows if row["kind"] == "float32"} == {100.0}
    assert (project.folder / "models/deploy/shipped_int8.onnx").stat().st_size > 0
    assert "Data and pipelines are up to date." in project.dvc("status")
