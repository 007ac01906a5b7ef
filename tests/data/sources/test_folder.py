"""The user's own images, from a folder or an archive."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepcompress.data.sources.folder import Options, load
from deepcompress.data.store import Part, Source
from deepcompress.errors import UserError
from tests.data.inputs import (
    CLASSES,
    image_files,
    make_folder,
    make_tar,
    make_zip,
    pixels,
)

KINDS = ("folder", "zip", "tar", "tar.gz")
LITTER = {
    ".DS_Store": b"x",
    "train/.DS_Store": b"x",
    "train/ant/Thumbs.db": b"x",
    "train/ant/.hidden.png": b"x",
    "train/.git/config": b"x",
    "__MACOSX/train/ant/._0.png": b"x",
    "desktop.ini": b"x",
}


def packed(folder: Path, kind: str, files: dict[str, bytes]) -> Path:
    if kind == "folder":
        return make_folder(folder / "pets", files)
    make = make_zip if kind == "zip" else make_tar
    return make(folder / f"pets.{kind}", files)


def read(path: Path, *, stored_size: int = 8, seed: int = 0, heldout_fraction: float = 0.25) -> Source:
    options = Options(path=str(path), heldout_fraction=heldout_fraction)
    return load(options, stored_size=stored_size, seed=seed, workspace=path.parent)


def content(part: Part | None) -> list[tuple[int, bytes]]:
    assert part is not None
    return [(int(label), part.read(index).tobytes()) for index, label in enumerate(part.labels)]


@pytest.mark.parametrize("kind", KINDS)
def test_images_labels_and_classes_are_those_of_the_folders(tmp_path: Path, kind: str) -> None:
    source = read(packed(tmp_path, kind, image_files(train=2, test=1)))
    assert source.classes == CLASSES
    assert source.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.train.labels.dtype == np.int64
    expected = [pixels(number, 8, 8, 3).tobytes() for number in range(9)]
    assert [image for _, image in content(source.train)] == expected[:6]
    assert content(source.test) == list(enumerate(expected[6:]))
    assert source.origin["source"] == "folder"
    assert source.origin["checksum"].startswith("sha256:")


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_a_folder_around_everything_and_litter_change_nothing(tmp_path: Path, kind: str) -> None:
    plain = read(make_folder(tmp_path / "plain", image_files()))
    members = {**image_files(), **LITTER}
    files = {f"my pets/{name}": members[name] for name in reversed(members)}
    around = read(packed(tmp_path, kind, {**files, "__MACOSX/x": b"x", ".DS_Store": b"x"}))
    assert around.classes == plain.classes
    assert content(around.train) == content(plain.train)
    assert content(around.test) == content(plain.test)


@pytest.mark.parametrize("kind", KINDS)
def test_without_test_a_share_of_each_class_is_held_out(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind, image_files(train=8, test=0))
    source = read(path)
    assert source.test is not None
    assert np.bincount(source.train.labels).tolist() == [6, 6, 6]
    assert np.bincount(source.test.labels).tolist() == [2, 2, 2]
    both = content(source.train) + content(source.test)
    assert sorted(image for _, image in both) == sorted(pixels(n, 8, 8, 3).tobytes() for n in range(24))
    assert content(read(path).test) == content(source.test)
    assert content(read(path, seed=1).test) != content(source.test)


def test_the_checksum_follows_the_images_and_nothing_else(tmp_path: Path) -> None:
    def checksum(name: str, files: dict[str, bytes]) -> str:
        return read(make_folder(tmp_path / name, files)).origin["checksum"]

    files = image_files()
    first = checksum("a", files)
    assert checksum("b", {**files, **LITTER}) == first
    assert checksum("c", {**files, "train/ant/0.png": files["train/ant/1.png"]}) != first
    renamed = {name.replace("ant/0", "ant/00"): data for name, data in files.items()}
    assert checksum("d", renamed) != first


def test_what_lies_beside_train_and_test_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(make_folder(tmp_path / "x", {**image_files(), "extra/ant/0.png": b"x", "README.md": b"x"}))
    assert "in no class folder, ignored: README.md, extra/ant/0.png" in caplog.text


def without(*starts: str) -> Callable[[], dict[str, bytes]]:
    return lambda: {name: data for name, data in image_files().items() if not name.startswith(starts)}


def plus(**files: bytes) -> Callable[[], dict[str, bytes]]:
    return lambda: {**image_files(), **files}


MISTAKES = {
    "no files": (lambda: {"train/": b""}, "holds no files"),
    "only litter": (lambda: dict(LITTER), "holds no files"),
    "no train": (without("train/"), "must hold train/<class>/ folders .* found ant, bee, cat"),
    "flat": (lambda: {"a.png": b"x"}, "must hold train/<class>/ folders .* found no folders"),
    "two around": (
        lambda: {"a/train/ant/0.png": b"x", "b/train/ant/0.png": b"x"},
        "must hold one train/, found several: a, b",
    ),
    "one class": (without("train/bee", "train/cat"), "at least two class folders .* found ant"),
    "empty class": (plus(**{"train/dog/": b""}), "class folder train/dog/ is empty"),
    "class of litter": (
        plus(**{"train/dog/": b"", "train/dog/.DS_Store": b"x"}),
        "class folder train/dog/ is empty",
    ),
    "empty test class": (plus(**{"test/dog/": b""}), "class folder test/dog/ is empty"),
    "empty test": (lambda: {**without("test/")(), "test/": b""}, "test/ is empty"),
    "unknown in test": (plus(**{"test/dog/0.png": b"x"}), "test/dog is a class that train/ does not have"),
    "missing in test": (without("test/bee"), "test/ has no class 'bee', which train/ has"),
    "no class folder": (plus(**{"train/0.png": b"x"}), "train/0.png is in no class folder"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", sorted(MISTAKES))
def test_a_mistake_in_the_layout_is_named(tmp_path: Path, case: str, kind: str) -> None:
    files, message = MISTAKES[case]
    path = packed(tmp_path, kind, files())
    with pytest.raises(UserError, match=f"^{path}: {message}"):
        read(path)


def test_too_few_images_to_hold_some_out_are_named(tmp_path: Path) -> None:
    files = {**image_files(train=3, test=0)}
    del files["train/bee/0.png"]
    with pytest.raises(UserError, match="class 'bee' must have at least 3 images, got 2: without test images"):
        read(make_zip(tmp_path / "x.zip", files))


@pytest.mark.parametrize("path", [None, ""])
def test_a_path_must_be_set(tmp_path: Path, path: str | None) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: data\.folder\.path must name a folder, a .zip"):
        load(Options(path=path), stored_size=8, seed=0, workspace=tmp_path)
