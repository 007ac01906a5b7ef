"""`python -m deepcompress predict`: the classes of images as the network sees them, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from deepcompress.__main__ import main
from deepcompress.data import images
from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.deploy.onnx import channels_first
from tests.data.inputs import CLASSES, encoded, make_folder, pixels
from tests.deploy.conftest import STORED, VIEW, Exported

FILES = {
    "b/2.png": encoded(pixels(2, 50, 70, 3)),
    "a/10.JPG": encoded(pixels(1, 40, 40, 3), "JPEG"),
    "a/1.png": encoded(pixels(3, 40, 40, 3)),
    "a/notes.txt": b"no image",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pictures", FILES)


def run(exported: Exported, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["predict", "--model", str(exported.float_file), *map(str, arguments)])


def refused(done: Result, message: str) -> None:
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_probabilities_are_those_of_the_stored_image(exported: Exported, folder: Path) -> None:
    done = run(exported, "--json", folder)
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert [Path(row["file"]).relative_to(folder).as_posix() for row in shown] == ["a/1.png", "a/10.JPG", "b/2.png"]
    stored = np.stack([images.decode(Path(row["file"]).read_bytes(), STORED, name="x") for row in shown])
    logits = OnnxClassifier(exported.float_file).run(channels_first(stored, VIEW.size))
    for row, values in zip(shown, logits, strict=True):
        expected = np.exp(values - values.max()) / np.exp(values - values.max()).sum()
        order = np.argsort(-expected)
        assert [entry["class"] for entry in row["classes"]] == [CLASSES[i] for i in order]
        np.testing.assert_allclose([entry["probability"] for entry in row["classes"]], expected[order], atol=0.02)


def test_top_limits_the_classes_and_lines_name_the_file(exported: Exported, folder: Path) -> None:
    done = run(exported, folder / "a/1.png", "--top", "1")
    name, _, answer = done.stdout.rstrip("\n").rpartition(": ")
    assert name == str(folder / "a/1.png")
    assert answer.split()[0] in CLASSES
    assert answer.endswith(" %")
    assert "," not in answer


def test_an_image_of_the_networks_own_size_is_taken_as_it_is(exported: Exported, tmp_path: Path) -> None:
    flat = np.full((STORED, STORED, 3), (10, 200, 90), dtype=np.uint8)
    Image.fromarray(flat).save(tmp_path / "flat.png")
    (row,) = json.loads(run(exported, tmp_path / "flat.png", "--json").stdout)
    expected = OnnxClassifier(exported.float_file).run(channels_first(flat[None], VIEW.size), "probabilities")[0]
    assert row["classes"][0]["probability"] == pytest.approx(expected.max(), abs=1e-6)


def test_prediction_loads_neither_torch_nor_onnx(exported: Exported, folder: Path) -> None:
    code = (
        "import sys; from deepcompress.__main__ import main;"
        f"main(['predict', '--model', {str(exported.float_file)!r}, {str(folder)!r}], standalone_mode=False);"
        "sys.exit(bool({'torch', 'onnx', 'torchvision', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.png", "none.png: no such file"),
        ("a/notes.txt", "notes.txt: no image that can be read"),
        ("empty", "empty: no image below this folder"),
    ],
)
def test_what_is_no_image_ends_in_one_line(name: str, message: str, exported: Exported, folder: Path) -> None:
    make_folder(folder / "empty", {"notes.txt": b""})
    refused(run(exported, folder / name), message)


def test_what_is_no_model_ends_in_one_line(folder: Path, tmp_path: Path) -> None:
    for name, message in (("none.onnx", "none.onnx: no such file"), ("text.onnx", "text.onnx: no ONNX file")):
        (tmp_path / "text.onnx").write_bytes(b"hello " * 99)
        refused(CliRunner().invoke(main, ["predict", str(folder), "--model", str(tmp_path / name)]), message)
