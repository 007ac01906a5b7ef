"""An array in a file: any rows as numpy gives them, never the whole above the budget, and each fault named."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from deepcompress.data import row_file
from deepcompress.data.row_file import RowFile
from deepcompress.errors import UserError
from tests.data import inputs

ARRAY = inputs.pixels(0, 12, 4, 3, 3)
KEYS = [
    0,
    -1,
    np.int64(5),
    slice(None),
    slice(2, 9, 3),
    slice(9, 2, -2),
    [3, 3, 0],
    np.array([11, 0, 1, 2, 7, 8]),
    np.array([-1, 4]),
    np.arange(12) % 3 == 0,
    slice(5, 5),
]


@pytest.fixture(params=["|u1", "<f4"])
def array(request: pytest.FixtureRequest) -> np.ndarray:
    return ARRAY.astype(request.param)


def stored(folder: Path, array: np.ndarray, budget_bytes: int = 0) -> RowFile:
    np.save(folder / "array.npy", array)
    return RowFile.open(folder / "array.npy", budget_bytes=budget_bytes)


@pytest.mark.parametrize("budget_bytes", [0, 1 << 20])
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_rows_are_those_that_numpy_gives(tmp_path: Path, array: np.ndarray, key: object, budget_bytes: int) -> None:
    found = stored(tmp_path, array, budget_bytes)
    assert (len(found), found.shape, found.dtype, found.nbytes) == (12, array.shape, array.dtype, array.nbytes)
    assert found[key].dtype == array.dtype
    assert np.array_equal(found[key], array[key])  # type: ignore[call-overload]
    if found.fits:
        assert np.array_equal(found.whole, array)
        assert np.array_equal(found[key], array[key]), "the same from memory"  # type: ignore[call-overload]


def test_a_row_that_is_not_there_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    for key in (12, -13, [12]):
        with pytest.raises(IndexError):
            stored(tmp_path, array)[key]


def test_rows_of_rows_are_rows_of_the_file(tmp_path: Path, array: np.ndarray) -> None:
    some = stored(tmp_path, array).select(np.array([7, 2, 3, 11]))
    assert np.array_equal(some[:], array[[7, 2, 3, 11]])
    assert np.array_equal(some.select(np.array([3, 0]))[:], array[[11, 7]])


def test_the_whole_is_read_once_and_only_within_the_budget(tmp_path: Path, array: np.ndarray) -> None:
    allowed = stored(tmp_path, array, array.nbytes)
    assert np.array_equal(np.asarray(allowed), array)
    assert allowed.whole is allowed.whole
    for load in (np.asarray, np.array, lambda images: images.whole):
        with pytest.raises(MemoryError, match=r"array\.npy: \d+ bytes are over the budget of"):
            load(stored(tmp_path, array, array.nbytes - 1))  # type: ignore[operator]


def test_neighbours_in_the_file_are_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, sizes = stored(tmp_path, ARRAY), []
    read = row_file.Readable.read_into
    monkeypatch.setattr(
        row_file.Readable,
        "read_into",
        lambda self, memory, offset: (sizes.append(len(memory) // found.row_bytes), read(self, memory, offset)),
    )
    assert np.array_equal(found[[4, 5, 6, 0, 1, 9]], ARRAY[[4, 5, 6, 0, 1, 9]])
    assert sizes == [2, 3, 1]


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"\x93NUMPY")])
def test_a_damaged_file_is_refused(tmp_path: Path, damage) -> None:
    stored(tmp_path, ARRAY)
    damage(tmp_path / "array.npy")
    with pytest.raises((ValueError, EOFError)):
        RowFile.open(tmp_path / "array.npy", budget_bytes=0)


def test_a_file_is_whole_with_all_its_rows_and_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    assert not RowFile.is_whole(path, rows=12, dtype="|u1")
    stored(tmp_path, ARRAY)
    assert RowFile.is_whole(path, rows=12, dtype="|u1")
    assert not RowFile.is_whole(path, rows=11, dtype="|u1")
    assert not RowFile.is_whole(path, rows=12, dtype="<f4")
    content = path.read_bytes()
    for other in (content[:-1], content + b"0", b"PK\x03\x04" + content[4:], b""):
        path.write_bytes(other)
        assert not RowFile.is_whole(path, rows=12, dtype="|u1")


def test_rows_that_do_not_lie_one_after_the_other_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "turned.npy", np.asfortranarray(ARRAY))
    with pytest.raises(ValueError, match="one after the other"):
        RowFile.open(tmp_path / "turned.npy", budget_bytes=0)


def test_a_file_that_is_cut_off_while_in_use_is_named(tmp_path: Path) -> None:
    found = stored(tmp_path, ARRAY)
    with (tmp_path / "array.npy").open("r+b") as file:
        file.truncate(128 + 6 * found.row_bytes + 1)
    assert np.array_equal(found[:6], ARRAY[:6])
    with pytest.raises(UserError, match=r"array\.npy: is cut off; run the stage that wrote it again"):
        found[[0, 6]]


@pytest.mark.parametrize("in_one_call", [True, False])
def test_a_failing_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_one_call: bool) -> None:
    class Failing:
        def seek(self, offset: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        def fileno(self) -> int:
            raise OSError(errno.EIO, "Input/output error")

    found = stored(tmp_path, ARRAY)
    if not in_one_call:
        monkeypatch.delattr(os, "preadv", raising=False)
    assert np.array_equal(found[[7, 2]], ARRAY[[7, 2]])
    monkeypatch.setattr(found._file, "_stream", Failing())
    with pytest.raises(OSError, match="Input/output error") as raised:
        found[0]
    assert raised.value.filename == str(tmp_path / "array.npy")
