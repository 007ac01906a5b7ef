"""The export stage: one folder of files that agree with their checkpoints, or one clear line and no folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import Result

from deepcompress import files
from deepcompress.data.heldout import open_heldout
from deepcompress.data.store import Part, Source
from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.deploy.onnx import channels_first
from deepcompress.models import checkpoint
from stages import export
from tests.data.inputs import CLASSES, write
from tests.deploy.conftest import DEPLOY, VIEW, coloured, network, save
from tests.stages.commands import contents, invoke, refused, well

NAMES = ["classes.json", "model.dc", "model.onnx", "model_card.json", "model_card.md", "model_float.onnx",
         "shipped.onnx", "shipped_int8.onnx"]  # fmt: skip


AGREEMENT = {"integer_agreement_pct": 60.0, "calibration_samples": 24}


def write_params(**deploy: Any) -> None:
    Path("params.yaml").write_text(yaml.safe_dump({"seed": 1, "deploy": DEPLOY | AGREEMENT | deploy}))


def recommend(model: str) -> None:
    files.write_json("results/recommendation.json", {"model": model, "reason": "It is the smallest."})


def part(number: int, count: int) -> Part:
    images = coloured(number, count, 32)
    return Part(np.arange(count, dtype=np.int64) % len(CLASSES), lambda index: images[index])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three classes, a float model, one of packed integers, and what was measured of both."""
    folder = tmp_path_factory.mktemp("export")
    images = Source(CLASSES, part(1, 60), part(2, 45), {"source": "memory", "checksum": "sha256:0"})
    write(folder / "data", images, validation_fraction=0.2)
    model = network()
    save(folder / "models/baseline.safetensors", model)
    save(folder / "models/shipped/quantized.safetensors", model, bits=8)
    rows = [
        {"model": name, "top1_pct": 40.0, "top1_pct_low": 27.0, "top1_pct_high": 54.5, "n": 45, "mcnemar_p": None}
        for name in ("baseline", "shipped/quantized")
    ]
    files.write_csv(folder / "metrics/evaluation.csv", rows)
    return folder


@pytest.fixture
def project(project: Path, prepared: Path) -> Path:
    for name in ("data", "models", "metrics"):
        shutil.copytree(prepared / name, project / name)
    write_params()
    recommend("baseline")
    return project


def run(out: str = "models/deploy") -> Result:
    data = {"fit": "data/fit", "heldout": "data/heldout", "evaluation": "metrics/evaluation.csv"}
    paths = {"recommendation": "results/recommendation.json", "parity": f"{out}-tables/parity.csv"}
    return invoke(export.main, models="models", folder=out, **data, **paths)


def stopped(message: str) -> None:
    refused(run(), message)
    assert not list(Path("models").glob("*deploy*"))


def test_a_float_model_is_exported_in_float_and_again_with_the_same_bytes(project: Path, monkeypatch) -> None:
    well(run())
    folder = Path("models/deploy")
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    assert (folder / "model.onnx").read_bytes() == (folder / "model_float.onnx").read_bytes()
    table = pd.read_csv("models/deploy-tables/parity.csv", index_col="file")
    assert table["kind"].to_dict() == {
        "model_float.onnx": "float32", "model.onnx": "float32", "shipped.onnx": "float32", "shipped_int8.onnx": "int8",
    }  # fmt: skip
    assert table["model"].tolist() == ["baseline", "baseline", "shipped/quantized", "shipped/quantized"]
    assert (table["n"] == 45).all()
    assert (table["agreement_pct"][:3] == 100).all()
    assert table.loc["model.onnx", "size_bytes"] == (folder / "model.onnx").stat().st_size
    monkeypatch.setattr("deepcompress.deploy.export.compare", None)  # a second comparison would need it
    well(run(out="models/deploy2"))
    assert contents("models/deploy2") == contents(folder)
    assert contents("models/deploy2-tables") == contents("models/deploy-tables")


def test_other_held_out_images_are_compared_anew(project: Path) -> None:
    well(run())
    before = pd.read_csv("models/deploy-tables/parity.csv")
    images = Source(CLASSES, part(1, 60), part(3, 30), {"source": "memory", "checksum": "sha256:0"})
    write(Path("other"), images, validation_fraction=0.2)
    shutil.rmtree("data/heldout")
    Path("other/heldout").rename("data/heldout")
    well(run(out="models/deploy2"))
    after = pd.read_csv("models/deploy2-tables/parity.csv")
    assert before["n"].unique().tolist() == [45]
    assert after["n"].unique().tolist() == [30]


def test_a_model_of_integers_is_exported_in_int8_and_its_float_file_agrees_with_it(project: Path) -> None:
    recommend("shipped/quantized")
    well(run())
    folder, loaded = Path("models/deploy"), checkpoint.load("models/shipped/quantized.safetensors")
    assert (folder / "model.onnx").read_bytes() == (folder / "shipped_int8.onnx").read_bytes()
    held = channels_first(open_heldout(Path("data/heldout")).arrays.images, VIEW.size)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (VIEW.mean, VIEW.std))
    with torch.no_grad():
        expected = loaded.model((torch.from_numpy(held) / 255 - mean) / std)
    logits = OnnxClassifier(folder / "model_float.onnx").run(held)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert json.loads((folder / "classes.json").read_text()) == list(CLASSES)
    card = json.loads((folder / "model_card.json").read_text())
    assert (card["model"], card["provenance"]["params"]) == ("shipped/quantized", {"epochs": 3})
    assert "n = 45 held-out images" in (folder / "model_card.md").read_text()


def test_a_model_of_four_bits_is_exported_with_its_own_integers_as_well(project: Path) -> None:
    save(Path("models/baseline.safetensors"), network(), bits=4)
    well(run())
    folder, table = Path("models/deploy"), pd.read_csv("models/deploy-tables/parity.csv", index_col="file")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*NAMES, "model_int4.onnx"])
    assert table["kind"].to_dict() == {
        "model_float.onnx": "float32", "model.onnx": "int8", "model_int4.onnx": "int4", "shipped.onnx": "float32",
        "shipped_int8.onnx": "int8",
    }  # fmt: skip
    difference = table["largest_difference"]
    assert difference["model_int4.onnx"] < difference["model.onnx"] / 2
    assert "| model_int4.onnx | baseline | int4 |" in (folder / "model_card.md").read_text()
    assert OnnxClassifier(folder / "model_int4.onnx").contract.classes == CLASSES


def test_a_file_that_disagrees_ends_in_one_line_and_leaves_no_folder(project: Path) -> None:
    write_params(integer_agreement_pct=100.0, calibration_samples=1)
    arrays = np.load("data/fit/train_images.npy")
    np.save("data/fit/train_images.npy", np.zeros_like(arrays))
    stopped("shipped_int8.onnx agrees with the checkpoint on ")


def test_a_missing_input_and_a_model_of_other_classes_end_in_one_line(project: Path) -> None:
    for file in ("data/heldout/images.npy", "metrics/evaluation.csv", "models/shipped/quantized.safetensors",
                 "models/baseline.safetensors", "results/recommendation.json"):  # fmt: skip
        moved = Path(file).rename(f"{file}.away")
        stopped(f"{file}: no such file")
        moved.rename(file)
    save(Path("models/baseline.safetensors"), network(), classes=("x", "y", "z"))
    stopped("baseline: class names differ from the data set's")
