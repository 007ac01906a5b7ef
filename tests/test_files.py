"""Writes are whole or do not happen."""

import errno
import os
import platform
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
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
    host = platform.node()
    names = {
        f".[x].csv.partial-{host}-{ended.pid}-7": False,
        f".[x].csv.partial-{host}-{os.getppid()}-7": True,
        f".[x].csv.partial-{host}-x-7": True,
        f".[x].csv.partial-other-{ended.pid}-7": True,  # of a machine that sees the same folder
        f".y.csv.partial-{host}-{ended.pid}-7": True,  # of another file
    }
    for name in names:
        (tmp_path / name).touch()
    files.write_text(tmp_path / "[x].csv", "1\n")
    assert {name: (tmp_path / name).exists() for name in names} == names


def test_what_cannot_be_removed_after_a_write_does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, in a folder where each may remove their own alone."""

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".x.csv.partial-{platform.node()}-{ended.pid}-7").touch()
    monkeypatch.setattr(Path, "unlink", refuse)
    files.write_text(tmp_path / "x.csv", "1\n")
    assert (tmp_path / "x.csv").read_text() == "1\n"


def test_threads_that_write_one_file_leave_the_whole_of_one(tmp_path: Path) -> None:
    path, meet = tmp_path / "x.bin", threading.Barrier(4)

    def write(number: int) -> None:
        with files.atomic(path) as partial, partial.open("wb") as file:
            for _ in range(3):
                file.write(bytes([number]) * 9)
                file.flush()
                meet.wait()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert len(path.read_bytes()) == 27
    assert len(set(path.read_bytes())) == 1


def test_a_file_that_is_written_anew_may_be_read_and_written_by_whom_it_could_be(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.touch()
    path.chmod(0o664)
    before = os.umask(0o077)
    try:
        files.write_text(path, "seed: 1\n")
    finally:
        os.umask(before)
    assert stat.filemode(path.stat().st_mode) == "-rw-rw-r--"


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
