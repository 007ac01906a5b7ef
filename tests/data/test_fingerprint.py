"""A changed folder of images is seen by names, sizes and times, without reading an image."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepcompress.data.fingerprint import NOTHING, fingerprint
from deepcompress.data.store import DataConfig
from deepcompress.errors import UserError
from tests.data.inputs import image_files, make_folder, make_table, make_zip


def config(source: str = "folder", **options: Any) -> DataConfig:
    return DataConfig(source=source, stored_size=8, validation_fraction=0.1, **{source: options})  # type: ignore[arg-type]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pets", image_files())


CHANGES: dict[str, Callable[[Path], object]] = {
    "another image": lambda top: (top / "train/ant/new.png").write_bytes(b"x"),
    "a longer image": lambda top: (top / "train/ant/0.png").write_bytes(b"x" * 999),
    "a newer image": lambda top: os.utime(top / "train/ant/0.png", ns=(1, 1)),
    "an image gone": lambda top: (top / "test/bee/0.png").unlink(),
    "another name": lambda top: (top / "test/bee/0.png").rename(top / "test/bee/00.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_has_another_fingerprint(top: Path, change: str) -> None:
    before = fingerprint(config(path=str(top)))
    assert before == fingerprint(config(path=str(top)))
    CHANGES[change](top)
    assert fingerprint(config(path=str(top))) != before


def test_what_programs_leave_behind_and_the_place_of_an_archive_do_not_count(top: Path) -> None:
    before = fingerprint(config(path=str(top)))
    (top / "train/.DS_Store").write_bytes(b"x")
    (top / "train/ant/Thumbs.db").write_bytes(b"x")
    assert fingerprint(config(path=str(top))) == before


def test_an_archive_and_a_table_are_seen_to_change(tmp_path: Path) -> None:
    archive, table = make_zip(tmp_path / "x.zip", image_files()), make_table(tmp_path / "t", image_files())
    before = [fingerprint(config(path=str(archive))), fingerprint(config("csv", path=str(table)))]
    os.utime(archive, ns=(1, 1))
    (tmp_path / "t/beside.txt").write_bytes(b"x")
    assert fingerprint(config("csv", path=str(table))) == before[1]
    os.utime(tmp_path / "t/train/ant/0.png", ns=(1, 1))
    assert fingerprint(config(path=str(archive))) != before[0]
    assert fingerprint(config("csv", path=str(table))) != before[1]


def test_where_the_images_are_gone_the_fingerprint_of_the_same_params_holds_on(top: Path) -> None:
    before = fingerprint(config(path=str(top)))
    top.rename(top.with_name("away"))
    assert fingerprint(config(path=str(top)), before) == before
    for asked in (config(path=str(top), heldout_fraction=0.5), config(path="elsewhere")):
        with pytest.raises(UserError, match=r"^params\.yaml: data\.folder: .*: no such file or folder$"):
            fingerprint(asked, before)


def test_a_circle_of_links_ends_and_linked_folders_are_looked_into(top: Path, tmp_path: Path) -> None:
    other = make_folder(tmp_path / "other", {"a.png": b"1"})
    (top / "train/ant/more").symlink_to(other)
    (top / "train/ant/round").symlink_to(top)
    before = fingerprint(config(path=str(top)))
    (other / "a.png").write_bytes(b"22")
    assert fingerprint(config(path=str(top))) != before


def test_a_source_that_reads_none_of_the_users_files_has_none() -> None:
    assert fingerprint(config("shapes")) == NOTHING
