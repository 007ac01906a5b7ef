"""Writes are whole or do not happen."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepcompress import files
from deepcompress.errors import UserError


def test_what_a_killed_process_left_goes_with_the_next_write_and_what_a_running_one_writes_stays(
    tmp_path: Path,
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = {
        f".[x].csv.partial-{ended.pid}": False,
        f".[x].csv.partial-{os.getppid()}": True,
        ".[x].csv.partial-x": True,
    }
    names[f".y.csv.partial-{ended.pid}"] = True  # of another file
    for name in names:
        (tmp_path / name).touch()
    files.write_text(tmp_path / "[x].csv", "1\n")
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_what_is_written_comes_back_in_a_folder_that_is_made_and_nan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    for value in ("one", {"b": [1, 2.5, None], "a": "é"}):
        files.write_json(path, value)
        assert files.read_json(path) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, float("nan"))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_damaged_json_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json: damaged JSON"):
        files.read_json(tmp_path / "x.json")
    with pytest.raises(UserError, match="no such file"):
        files.read_json(tmp_path / "missing.json")


def test_tables_are_written_by_name_and_read_back_as_rows(tmp_path: Path) -> None:
    rows = {"sizes": [{"layer": "a", "bytes": 3}, {"layer": "b", "bytes": 4}], "unused": []}
    files.write_tables([("sizes", tmp_path / "deep/sizes.csv")], rows)
    assert (tmp_path / "deep/sizes.csv").read_bytes() == b"layer,bytes\na,3\nb,4\n"
    assert files.read_rows(tmp_path / "deep/sizes.csv") == rows["sizes"]
    with pytest.raises(UserError, match=r"x\.csv: there is no table 'size'; there are sizes, unused"):
        files.write_tables([("size", tmp_path / "x.csv")], rows)
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        files.read_rows(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text('a,b\n1,2\n1,2,3,"')
    with pytest.raises(UserError, match=r"bad\.csv: damaged table"):
        files.read_rows(tmp_path / "bad.csv")


def test_a_relative_path_starts_at_the_repository_also_in_a_copy_of_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "repository/.dvc/tmp/exps/tmp123"
    copy.mkdir(parents=True)
    (copy / "tracked.zip").write_bytes(b"")
    monkeypatch.chdir(copy)
    assert files.from_repository("tracked.zip") == copy / "tracked.zip"
    assert files.from_repository("../photos.zip") == tmp_path / "photos.zip"
    monkeypatch.chdir(tmp_path / "repository")
    assert files.from_repository("x/../none.zip") == tmp_path / "repository/none.zip"
    assert files.from_repository(str(tmp_path)) == tmp_path
    with pytest.raises(UserError, match="there is no such user"):
        files.from_repository("~nobody_of_this_name/x.zip")


def values(seed: int) -> dict[str, np.ndarray]:
    return {"numbers": np.random.default_rng(seed).normal(size=(3, 2)), "word": np.asarray("ant")}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_arrays_are_made_once_or_when_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    path = tmp_path / "a.npz"
    for seed in (0, 1):
        assert np.array_equal(files.kept_arrays(path, lambda seed=seed: values(seed))["numbers"], values(0)["numbers"])
    content = path.read_bytes()
    flipped = content[:40] + bytes([content[40] ^ 1]) + content[41:]
    path.write_bytes({"cut": content[:-9], "flipped": flipped, "empty": b"", "text": b"what is this?"}[damage])
    again = files.kept_arrays(path, lambda: values(1))
    assert np.array_equal(again["numbers"], values(1)["numbers"])
    assert "damaged" in caplog.text
    assert np.array_equal(files.kept_arrays(path, lambda: values(2))["numbers"], values(1)["numbers"])
