"""`python -m deepcompress predict`: the classes of images as the network sees them, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from deepcompress.__main__ import main
from deepcompress.data import images
from deepcompress.deploy.pixels import channels_first
from deepcompress.deploy.session import Classifier
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
    assert [Path(one["file"]).relative_to(folder).as_posix() for one in shown] == ["a/1.png", "a/10.JPG", "b/2.png"]
    stored = np.stack([images.decode(Path(one["file"]).read_bytes(), STORED, name="x") for one in shown])
    logits = Classifier(exported.float_file).answers(channels_first(stored, VIEW.size))
    for one, row in zip(shown, logits, strict=True):
        chances = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        order = np.argsort(-chances)
        assert [entry["class"] for entry in one["classes"]] == [CLASSES[i] for i in order]
        np.testing.assert_allclose([entry["probability"] for entry in one["classes"]], chances[order], atol=0.02)


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
    (one,) = json.loads(run(exported, tmp_path / "flat.png", "--json").stdout)
    expected = Classifier(exported.float_file).answers(channels_first(flat[None], VIEW.size), "probabilities")[0]
    assert one["classes"][0]["probability"] == pytest.approx(expected.max(), abs=1e-6)


def test_prediction_loads_neither_torch_nor_onnx(exported: Exported, folder: Path) -> None:
    code = (
        "import sys; from deepcompress.__main__ import main;"
        f"main(['predict', '--model', {str(exported.float_file)!r}, {str(folder)!r}], standalone_mode=False);"
        "sys.exit(bool({'torch', 'onnx', 'torchvision', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_a_missing_file_ends_in_one_line(exported: Exported, folder: Path) -> None:
    refused(run(exported, folder / "a/1.png", folder / "none.png"), "none.png: no such file")


def test_a_file_that_is_no_image_ends_in_one_line(exported: Exported, folder: Path) -> None:
    refused(run(exported, folder / "a/notes.txt"), "notes.txt: no image that can be read")


def test_a_folder_without_images_ends_in_one_line(exported: Exported, tmp_path: Path) -> None:
    refused(run(exported, make_folder(tmp_path / "empty", {"notes.txt": b""})), "empty: no image below this folder")


def test_a_missing_model_ends_in_one_line(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["predict", str(folder), "--model", str(tmp_path / "none.onnx")])
    refused(done, "none.onnx: no such file")


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_model_ends_in_one_line(damage: str, exported: Exported, folder: Path, tmp_path: Path) -> None:
    content, path = exported.float_file.read_bytes(), tmp_path / "damaged.onnx"
    path.write_bytes({"cut": content[: len(content) // 2], "text": b"hello " * 99, "empty": b""}[damage])
    refused(CliRunner().invoke(main, ["predict", str(folder), "--model", str(path)]), "damaged.onnx: no ")


def test_the_onnx_file_of_another_maker_ends_in_one_line(exported: Exported, folder: Path, tmp_path: Path) -> None:
    proto, path = onnx.load(exported.float_file), tmp_path / "other.onnx"
    del proto.metadata_props[:]
    onnx.save(proto, path)
    done = CliRunner().invoke(main, ["predict", str(folder), "--model", str(path)])
    refused(done, "other.onnx: no model that this pipeline exported")
