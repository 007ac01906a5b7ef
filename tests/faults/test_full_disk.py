"""A disk that fills up in the middle of a save: the old file stays whole, nothing else stays, one line says so."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch

from deepcompress import api, files
from deepcompress.data.store import open_fit, write_array, write_fit
from deepcompress.deploy.classifier import Contract
from deepcompress.deploy.onnx import write
from deepcompress.errors import EXIT_CODE, SCRATCH_VARIABLE, STAGE_VARIABLE, in_one_line, note_seconds
from deepcompress.models import checkpoint
from deepcompress.training import loop
from tests import nets
from tests.data.inputs import source
from tests.faults.damage import below, largest_file

LIMITS = (0, 1, 60, 900)  # bytes of one file


def graph() -> onnx.ModelProto:
    weight = onnx.numpy_helper.from_array(np.zeros(5000, np.float32), "w")
    info = onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [5000])
    made = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["y"])], "g", [], [info], [weight])
    return onnx.helper.make_model(made)


def save_checkpoint(path: Path) -> None:
    checkpoint.save(path, nets.vgg(), view=nets.VIEW, classes=nets.CLASSES, provenance={})


def save_array(path: Path) -> None:
    with files.atomic(path) as partial:
        write_array(partial, [np.zeros((9, 99), np.float32)], 9)


SAVES: dict[str, Callable[[Path], object]] = {
    "model.safetensors": save_checkpoint,
    "table.csv": lambda path: files.write_csv(path, pd.DataFrame({"x": range(2000)})),
    "value.json": lambda path: files.write_json(path, list(range(2000))),
    "page.html": lambda path: files.write_text(path, "x" * 9000),
    "model.onnx": lambda path: write(path, graph(), Contract(("a",), 32, 32)),
    "logits.npy": save_array,
    "state.pt": lambda path: loop.save_state(path.parent, {"weights": torch.zeros(5000)}),
}


def said_by(save: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints that does this; it must end in one line and the exit code of a user's mistake."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end, in_one_line():
        save()
    assert end.value.code == EXIT_CODE
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("name", SAVES)
def test_the_old_file_stays_whole(name: str, limit: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    with largest_file(limit):
        said = said_by(lambda: SAVES[name](path), capsys)
    assert f"{path}: File too large" in said
    assert below(tmp_path) == {name: b"old"}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_data_folder_stays_whole(limit: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "fit"
    write_fit(folder, source(), validation_fraction=0.25, seed=0)
    before = below(tmp_path)
    with largest_file(limit):
        said = said_by(lambda: write_fit(folder, source(), validation_fraction=0.5, seed=1), capsys)
    assert f"{folder}: File too large" in said
    assert below(tmp_path) == before
    open_fit(folder)


def test_from_python_the_error_names_the_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.safetensors")
    model = api.load(tmp_path / "model.safetensors")
    for work in (api.size_report, lambda given: given.save(tmp_path / "other.safetensors")):
        with largest_file(900), pytest.raises(OSError, match=r"File too large: '.+\.safetensors'"):
            work(model)
    assert list(below(tmp_path)) == ["model.safetensors"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_fails_once_all_is_written(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name, save in SAVES.items():
        (tmp_path / name).write_bytes(b"old")
        with monkeypatch.context() as patch:
            patch.setattr(os, failing, full)
            assert f"{tmp_path / name}: No space left on device" in said_by(lambda: save(tmp_path / name), capsys)  # noqa: B023
    assert below(tmp_path) == dict.fromkeys(SAVES, b"old")


def test_the_time_of_a_stage_leaves_no_part_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STAGE_VARIABLE, "dvc.yaml:prune")
    monkeypatch.setenv(SCRATCH_VARIABLE, str(tmp_path))
    with largest_file(10):
        said_by(note_seconds, capsys)
    assert below(tmp_path) == {}
