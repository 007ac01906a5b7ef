"""The whole pipeline on tiny params: by `make repro` first, then, with nothing or the same to show, by DVC itself.

Slowly, on networks of torchvision, timm and the user, too, to ONNX files that agree with checkpoints.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from deepcompress import files
from deepcompress.models import checkpoint
from tests import pipeline

pytestmark = pytest.mark.smoke
AGAIN = ("finetune", "quantize_sweep@qat-int4", "distill@crd-vgg16", "combine_distill@prune_distill", "evaluate")
MOST_ROWS = 40  # of `dvc metrics diff`


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Project:
    made = pipeline.copy(tmp_path_factory.mktemp("project") / "deepcompress")
    made.repro()
    return made


def test_a_second_run_says_that_all_is_up_to_date(project: pipeline.Project) -> None:
    assert all("Data and pipelines are up to date." in project.dvc(command) for command in ("repro", "status"))


def test_what_dvc_runs_again_alone_gives_the_same_hashes(project: pipeline.Project) -> None:
    """A few stages; tests/faults/test_kills.py does it with one of each file, slowly."""
    before = project.lock()
    project.dvc("repro", "--force", "--single-item", *AGAIN)
    after = project.lock()
    assert {stage: after[stage]["outs"] for stage in AGAIN} == {stage: before[stage]["outs"] for stage in AGAIN}


def test_the_results_are_there_a_short_headline_and_the_time_of_every_stage_with_them(
    project: pipeline.Project,
) -> None:
    for name in (
        "metrics/evaluation.csv",
        "report.html",
        "models/baseline.safetensors",
        "models/combined/prune_distill_quantize.safetensors",
        "models/deploy/model.onnx",
        "models/deploy/model_card.md",
        "results/recommendation.json",
        "results/benchmark/latency.csv",
    ):
        assert (project.folder / name).stat().st_size > 0
    assert "baseline" in project.dvc("metrics", "show")
    headline = json.loads((project.folder / "metrics/headline.json").read_text())
    assert 0 < sum(len(numbers) for numbers in headline.values()) <= MOST_ROWS
    timed = (project.folder / "results/benchmark/stages.csv").read_text()
    assert all(f"\n{stage}," in timed for stage in ("plan", "finetune", "evaluate", "combine_distill@prune_distill"))


def test_a_wrong_key_stops_the_run_before_any_work(project: pipeline.Project) -> None:
    path = project.folder / "params.yaml"
    good = path.read_text()
    path.write_text(good.replace("  epochs: 2", "  epochs: 2\n  epoch: 2"))
    try:
        said = project.dvc("repro", code=255)
    finally:
        path.write_text(good)
    assert "error: params.yaml: finetune.epoch is unknown" in said
    assert "Running stage 'download'" not in said
    assert "Traceback" not in said


OWN = """from torch import nn


def block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def small(classes: int) -> nn.Module:
    pooled = nn.Sequential(block(3, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2), block(32, 32))
    return nn.Sequential(pooled, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes))
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


@pytest.mark.slow
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
