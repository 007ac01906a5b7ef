"""The quantize and bits stages: packed models for every variant, the shipped one, the trend, and mistakes."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import Result

from deepcompress.data.batches import Batches
from deepcompress.data.store import open_fit
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import qat
from stages import bits, quantize
from tests.data.inputs import CLASSES
from tests.nets import VIEW
from tests.quantization.test_settings import GOOD
from tests.stages.commands import contents, invoke, refused, save_vgg, trains_once, well, write_images, write_params

QUANT: dict[str, Any] = GOOD | {
    "float16": "fp16",
    "calibration": {"samples": 16, "inputs": 16, "batch_size": 8},
    "qat": GOOD["qat"] | {"batch_size": 16, "learning_rate": 1e-3},
    "sweep": ["ptq-int8", "qat-int4", "qat-fp32"],
}
HISTORY = ["epoch", "train_loss", "learning_rate", "validation_top1_pct", "validation_loss"]


def write_quant(**quant: Any) -> None:
    write_params(quant=QUANT | quant)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and a model, half of whose weights are zero."""
    folder = tmp_path_factory.mktemp("quantize")
    write_images(folder)
    model = save_vgg(folder / "source.safetensors", (4, 8, 16, 16, 32, 32, 32, 32), (64, 64))
    for layer in prunable_layers(model).values():
        layer.weight.data[layer.weight.abs() < layer.weight.abs().median()] = 0
    checkpoint.save(folder / "source.safetensors", model, view=VIEW, classes=CLASSES, provenance={})
    return folder


@pytest.fixture
def project(project: Path, prepared: Path) -> Path:
    (project / "data").symlink_to(prepared / "data")
    shutil.copy(prepared / "source.safetensors", project)
    write_quant()
    return project


def run(*more: str, out: str = "out") -> Result:
    paths = {"model": f"{out}/model.safetensors", "history": f"{out}/history.csv", "table": f"{out}/table.csv"}
    return invoke(quantize.main, *more, fit="data/fit", source="source.safetensors", **paths)


def row(out: str = "out") -> dict[str, Any]:
    (found,) = pd.read_csv(f"{out}/table.csv").to_dict("records")
    return {str(key): value for key, value in found.items()}


@pytest.mark.parametrize("variant", ["ptq-bf16", "ptq-int8", "ptq-int3", "qat-int4", "qat-fp32"])
def test_every_variant_gives_a_model_with_the_zeros_of_its_source_its_history_and_a_row(
    variant: str, project: Path
) -> None:
    well(run("--variant", variant))
    mode, form = variant.split("-")
    loaded, history, found = checkpoint.load("out/model.safetensors"), pd.read_csv("out/history.csv"), row()
    assert list(history.columns) == HISTORY
    assert len(history) == (mode == "qat")
    assert (found["mode"], found["format"], found["n"]) == (mode, form, 12)
    answers = accuracy.logits(loaded.model, Batches(open_fit(Path("data/fit")).validation, loaded.view, batch_size=12))
    right = accuracy.top_k_correct(*answers).double().mean().item()
    assert found["validation_top1_pct"] == pytest.approx(100 * right, abs=0.01)
    assert found["weights_quantized_pct"] == (0 if form == "fp32" else 100)
    before, rounded = (prunable_layers(m) for m in (checkpoint.load("source.safetensors").model, loaded.model))
    assert all((rounded[name].weight[layer.weight == 0] == 0).all() for name, layer in before.items())
    assert not any(torch.equal(rounded[name].weight, layer.weight) for name, layer in before.items())
    assert not list(project.glob(".scratch/*/*"))


def test_a_run_that_ends_after_training_does_not_repeat_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trains_once(lambda folder: run("--variant", "qat-int4", out=folder), "quantize", monkeypatch)
    made = checkpoint.load("out/model.safetensors").provenance
    assert (made["stage"], made["seed"], made["params"]["quantize"]["format"]) == ("quantize", 1, "int4")
    assert made["params"]["quantize"]["qat"]["learning_rate"] == 1e-3


def test_bits_alone_decide_what_is_shipped(project: Path) -> None:
    """And nothing of a variant of the sweep."""
    sizes, variants = [], set()
    for width in ([8], 4, 16):
        write_quant(bits=width)
        well(run(out=str(width)))
        well(run("--variant", "ptq-int3", out="variant"))
        variants.add(Path("variant/model.safetensors").read_bytes())
        sizes.append(Path(f"{width}/model.safetensors").stat().st_size)
    assert [row(out)["format"] for out in ("[8]", "4", "16")] == ["int8", "int4", "fp16"]
    assert sizes[1] < sizes[0] < sizes[2]
    assert len(variants) == 1


def test_a_group_size_that_does_not_divide_is_said_and_done(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    write_quant(group_size=10)
    well(run("--variant", "ptq-int4"))
    (said,) = [line for line in caplog.messages if line.startswith("the last group of a row is shorter in")]
    assert "features.11 (144 inputs in 15 groups of 10)" in said
    assert "features.8 " not in said  # 72 inputs are 8 groups of 9


def test_a_source_of_other_classes_ends_in_one_line(project: Path) -> None:
    model, names = checkpoint.load("source.safetensors").model, tuple(f"other {name}" for name in CLASSES)
    checkpoint.save("source.safetensors", model, view=VIEW, classes=names, provenance={})
    result = run()
    assert (result.exit_code, "made for other classes than the images have" in result.output) == (2, True)


def bits_options(out: str) -> dict[str, str]:
    paths = {"points": f"{out}/points.csv", "trends": f"{out}/trends.csv"}
    return {"fit": "data/fit", "source": "source.safetensors", **paths}


def test_points_and_trends_of_bits_are_the_same_twice_whatever_is_shipped(project: Path) -> None:
    before = Path("source.safetensors").read_bytes()
    well(invoke(bits.main, **bits_options("one")))
    write_quant(bits=4, mode="qat", first_bits=8)
    well(invoke(bits.main, **bits_options("other")))
    points, trends = pd.read_csv("one/points.csv"), pd.read_csv("one/trends.csv")
    assert points["bits"].tolist() == 2 * list(range(2, 9))
    assert trends["cost"].nunique() == 3
    assert contents("one") == contents("other")
    assert Path("source.safetensors").read_bytes() == before
    Path("source.safetensors").unlink()
    refused(invoke(bits.main, **bits_options("out")), "source.safetensors: no such file")


def test_what_was_trained_is_on_the_cpu_when_it_is_rounded(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a GPU no file could be written."""
    calls: list[str] = []
    to_cpu, detach_ = torch.nn.Module.cpu, qat.detach_
    monkeypatch.setattr(torch.nn.Module, "cpu", lambda model: calls.append("cpu") or to_cpu(model))
    monkeypatch.setattr(qat, "detach_", lambda model: calls.append("detach_") or detach_(model))
    well(run("--variant", "qat-int4"))
    assert calls[:2] == ["cpu", "detach_"]
