"""The user's own images, from a folder or an archive, as people really have them: read, or refused in one line."""

import bz2
import gzip
import lzma
import os
import sys
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepcompress.data.sources.folder import Options, load
from deepcompress.data.store import Part, Source
from deepcompress.errors import UserError
from tests.data.inputs import (
    CLASSES,
    encoded,
    image_files,
    make_folder,
    make_tar,
    make_zip,
    packed,
    pixels,
    sizes,
    write,
)

Files = dict[str, bytes]
linux_names = pytest.mark.skipif(sys.platform != "linux", reason="only there are names of files any bytes")
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


def images(*places: str, n: int = 6) -> Files:
    """Images in folders, every image another one."""
    names = [f"{place}/{i}" for place in places for i in range(n)]
    return {f"{name}.png": encoded(pixels(int.from_bytes(name.encode(), "big"), 8, 8, 3)) for name in names}


def read(path: Path, *, seed: int = 0, **options: Any) -> Source:
    return load(Options(path=str(path), **options), stored_size=8, seed=seed, workspace=path.parent)


def stored(path: Path) -> Source:
    """Also written, as the stage does."""
    source = read(path)
    write(path.parent, source, validation_fraction=0.2)
    return source


def content(part: Part | None) -> list[tuple[int, bytes]]:
    assert part is not None
    return [(int(label), part.read(index).tobytes()) for index, label in enumerate(part.labels)]


@pytest.mark.parametrize("kind", KINDS)
def test_images_labels_and_classes_are_those_of_the_folders(tmp_path: Path, kind: str) -> None:
    source = read(packed(tmp_path, kind, image_files(train=2, test=1)))
    assert source.classes == CLASSES
    assert source.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    expected = [pixels(number, 8, 8, 3).tobytes() for number in range(9)]
    assert [image for _, image in content(source.train)] == expected[:6]
    assert content(source.test) == list(enumerate(expected[6:]))


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
    source = read(path, heldout_fraction=0.25)
    assert source.test is not None
    assert np.bincount(source.train.labels).tolist() == [6, 6, 6]
    assert np.bincount(source.test.labels).tolist() == [2, 2, 2]
    both = content(source.train) + content(source.test)
    assert sorted(image for _, image in both) == sorted(pixels(n, 8, 8, 3).tobytes() for n in range(24))
    assert content(read(path, heldout_fraction=0.25).test) == content(source.test)
    assert content(read(path, heldout_fraction=0.25, seed=1).test) != content(source.test)


def test_the_checksum_follows_the_images_and_nothing_else(tmp_path: Path) -> None:
    def checksum(name: str, files: Files) -> str:
        return read(make_folder(tmp_path / name, files)).origin["checksum"]

    files = image_files()
    first = checksum("a", files)
    assert checksum("b", {**files, **LITTER}) == first
    assert checksum("c", {**files, "train/ant/0.png": files["train/ant/1.png"]}) != first
    renamed = {name.replace("ant/0", "ant/00"): data for name, data in files.items()}
    assert checksum("d", renamed) != first


def test_hidden_folders_of_images_unless_a_program_made_them_and_what_lies_beside_train_and_test_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    programs = (
        ".git/a.png",
        ".Trash-1000/a.png",
        "train/.ipynb_checkpoints/a.png",
        "@eaDir/.x/a.png",
        "train/ant/._0.png",
    )
    hidden = {"train/.cat/a.png": b"x", "train/.cat/b.png": b"x", "train/bee/.old/x/a.jpg": b"x", ".notes/a.txt": b"x"}
    beside = {"extra/ant/0.png": b"x", "README.md": b"x"}
    read(make_folder(tmp_path / "x", {**image_files(), **dict.fromkeys(programs, b"x"), **hidden, **beside}))
    assert "in no class folder, ignored: README.md, extra/ant/0.png" in caplog.text
    assert caplog.text.count("ignored with the images in them: train/.cat/, train/bee/.old/\n") == 1


def test_too_few_images_to_hold_some_out_are_named(tmp_path: Path) -> None:
    files = {**image_files(train=3, test=0)}
    del files["train/bee/0.png"]
    with pytest.raises(UserError, match="class 'bee' must have at least 3 images, got 2: without test images"):
        read(make_zip(tmp_path / "x.zip", files))


@pytest.mark.parametrize("path", [None, ""])
def test_a_path_must_be_set(tmp_path: Path, path: str | None) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: data\.folder\.path must name a folder, a .zip"):
        load(Options(path=path), stored_size=8, seed=0, workspace=tmp_path)


TRAIN, TEST = images("train/ant", "train/bee"), images("test/ant", "test/bee", n=2)
PNG = encoded(pixels(1, 8, 8, 3))
HELD_OUT = (10, 0, 2)  # of twelve images without test/


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (images("Train/ant", "Train/bee") | images("Test/ant", "Test/bee", n=2), (12, 0, 4)),
        (images("training/ant", "training/bee") | images("testing/ant", "testing/bee", n=2), (12, 0, 4)),
        (TRAIN | images("val/ant", "val/bee", n=2) | images("test/ant", "test/bee", n=3), (12, 4, 6)),
        (TRAIN | images("VALID/ant", "VALID/bee", n=2), (10, 4, 2)),
        (TRAIN | images("validation/ant", "validation/bee", n=1), (10, 2, 2)),
        (images("a/b/c/train/ant", "a/b/c/train/bee"), HELD_OUT),
        ({f"a/b/{name}": data for name, data in TRAIN.items()} | {"README.md": b"", "a/LICENSE": b""}, HELD_OUT),
        (TRAIN | {"docs/figure.png": PNG, "code/main.py": b""}, HELD_OUT),
        (images("train/train/a", "train/bee"), HELD_OUT),
        (images("ant", "bee"), HELD_OUT),
        ({"./": b"", "./ant/": b"", "./bee/": b""} | images("./ant", "./bee"), HELD_OUT),
        (images("photos/2024/ant", "photos/2024/bee") | {"photos/readme.txt": b""}, HELD_OUT),
        (images("valves", "trainers"), HELD_OUT),
        (images("testament", "devices"), HELD_OUT),
        (images("train/ant/left", "train/ant/right/far", "train/bee"), (15, 0, 3)),
    ],
)  # fmt: skip
def test_layouts_that_are_clear_are_read(tmp_path: Path, files: Files, expected: tuple[int, int, int]) -> None:
    for kind in KINDS:
        source = stored(packed(tmp_path, kind, files))
        assert len(source.classes) == 2
        assert sizes(source) == expected


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (TRAIN | {"test/1.jpg": PNG}, "test/1.jpg is in no class folder, it must lie in test/<class>/"),
        (TRAIN | {"test/ant": PNG}, "test/ant is in no class folder"),
        (TRAIN | images("Train/ant"), "Train/ and train/ are both train; merge them"),
        (TRAIN | images("val/ant", "valid/ant"), "val/ and valid/ are both validation; merge them"),
        (TRAIN | images("val/ant"), "val/ has no class 'bee', which train/ has"),
        (images("trainset/ant", "trainset/bee", "testset/ant", "testset/bee"), "must hold .* found testset, trainset"),
        (images("fold1/ant", "fold1/bee", "fold2/ant"), "must hold .* found fold1, fold2"),
        (images("ant", "bee") | {"a.png": PNG}, "a.png is in no class folder, it must lie in <class>/"),
        (images("ant"), "must hold train/<class>/ folders"),
        (images("train", "bus"), r"train/0.png is in no class folder, .* \(or, if train is a class, in train/train/\)"),
        (images("test photos/ant", "test photos/bee"), "must hold .* where test photos/ seems to be a part of a split"),
        (images("ant", "valid_2"), "must hold .* where valid_2/ seems to be a part of a split"),
        (images("ant", "held-out"), "must hold .* where held-out/ seems to be"),
        ({"photos.zip": b"PK", "notes.txt": b""}, "must hold .*; photos.zip within must be unpacked first; found no"),
        (images("ant", "bee", "bee/phone"), ".* and in one of them bee/phone/, which needs train/ above"),
        (images("data") | {"data/metadata.csv": b"file_name,label\n"}, ".*; for the labels of metadata.csv, set"),
        (images("train") | {"train/metadata.csv": b"file_name,label\n"}, ".*; for the labels of metadata.csv, set"),
        (TRAIN | {"train/cat/readme.txt": b"none yet"}, "class 'cat' has no image in train"),
        ({"train/": b""}, "holds no files"),
        (images("test/ant", "test/bee"), "must hold train/<class>/ folders .* found ant, bee"),
        ({"a.png": PNG}, "must hold train/<class>/ folders .* found no folders"),
        ({"photos/cat/a.png": PNG}, "must hold train/<class>/ folders .* found photos/cat/ alone"),
        ({"a/train/ant/0.png": PNG, "b/train/ant/0.png": PNG}, "must hold one train/, found several: a, b"),
        (images("train/ant"), "at least two class folders .* found ant"),
        (TRAIN | {"train/dog/": b""}, "class folder train/dog/ is empty"),
        (TRAIN | {"train/dog/": b"", "train/dog/.DS_Store": b"x"}, "class folder train/dog/ is empty"),
        (TRAIN | TEST | {"test/dog/": b""}, "class folder test/dog/ is empty"),
        (TRAIN | {"test/": b""}, "test/ is empty"),
        (TRAIN | TEST | {"test/dog/0.png": PNG}, "test/dog is a class that train/ does not have"),
        (TRAIN | images("test/ant"), "test/ has no class 'bee', which train/ has"),
        (TRAIN | {"train/0.png": PNG}, "train/0.png is in no class folder"),
    ],
)  # fmt: skip
def test_layouts_that_are_not_clear_are_refused_and_the_folders_named(
    tmp_path: Path, files: Files, message: str
) -> None:
    for kind in KINDS:
        path = packed(tmp_path, kind, files)
        with pytest.raises(UserError, match=f"^{path}: {message}"):
            stored(path)


@pytest.mark.parametrize("letter", ["é", "Å", "ñ", "ü", "가", "が"])
def test_a_class_is_one_however_its_accents_are_written(tmp_path: Path, letter: str) -> None:
    split = unicodedata.normalize("NFD", letter)
    files = images(f"train/{split}", "train/bee") | images(f"test/{letter}", "test/bee", n=2)
    source = stored(make_zip(tmp_path / "x.zip", files))
    assert source.classes == tuple(sorted(["bee", letter]))
    assert sizes(source) == (12, 0, 4)


@linux_names
@pytest.mark.parametrize(
    ("letters", "encoding"), [("café", "cp1252"), ("犬猫", "cp932"), ("кот", "cp1251"), ("狗", "gbk")]
)
def test_the_name_of_a_folder_that_is_no_utf8_is_read_as_params_say_or_refused(
    tmp_path: Path, letters: str, encoding: str
) -> None:
    files = {os.fsdecode(name.replace("bee", letters).encode(encoding)): data for name, data in TRAIN.items()}
    for path in (make_folder(tmp_path / "x", files), make_tar(tmp_path / "x.tar", files)):
        message = rf"{path}: the name of the class folder .* is no UTF-8; .*names_encoding .*{encoding} \({letters}\)"
        with pytest.raises(UserError, match=message):
            read(path)
        assert read(path, names_encoding=encoding).classes == tuple(sorted(["ant", letters]))


@linux_names
def test_the_name_of_a_file_that_is_no_utf8_is_no_matter(tmp_path: Path) -> None:
    extra = {os.fsdecode(b"train/ant/caf\xe9.png"): PNG, os.fsdecode(b"train/ant/\xff.txt"): b"x"}
    source = stored(make_folder(tmp_path / "x", TRAIN | extra))
    assert sum(sizes(source)) == 13
    assert (tmp_path / "fit/meta.json").read_text(encoding="utf-8").count("\\udcff.txt") == 1


def zip_in(path: Path, letters: str, encoding: str) -> Path:
    """A zip with the name of a class in another code page, as old programs write it: the flag of UTF-8 is not set."""
    name = letters.encode(encoding)
    place = b"/" + b"#" * len(name) + b"/"  # of as many bytes
    content = make_zip(path, {name.replace("/bee/", place.decode()): data for name, data in TRAIN.items()}).read_bytes()
    path.write_bytes(content.replace(place, b"/" + name + b"/"))
    return path


@pytest.mark.parametrize(
    ("letters", "encoding"),
    [("犬猫", "cp932"), ("表表", "cp932"), ("能", "cp932"), ("狗", "gbk"), ("käfer", "cp437"), ("жук", "cp866")],
)
def test_names_of_a_zip_in_another_code_page_are_read_as_params_say_or_refused(
    tmp_path: Path, letters: str, encoding: str
) -> None:
    path = zip_in(tmp_path / "x.zip", letters, encoding)
    with pytest.raises(UserError, match=r"x\.zip: the name of the class folder .* is no UTF-8; rename it, or say"):
        read(path)
    assert read(path, names_encoding=encoding).classes == tuple(sorted(["ant", letters]))
    if encoding != "cp437":
        with pytest.raises(UserError, match="is not in the encoding ascii; see names_encoding"):
            read(path, names_encoding="ascii")


def test_names_of_a_zip_in_utf8_without_its_flag_are_utf8(tmp_path: Path) -> None:
    assert read(zip_in(tmp_path / "x.zip", "犬猫", "utf-8")).classes == ("ant", "犬猫")


PACKERS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress, bz2.compress, lzma.compress]


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "zip", "xz", "download"])
@pytest.mark.parametrize("packer", PACKERS)
def test_a_tar_is_known_by_its_content(tmp_path: Path, suffix: str, packer: Callable[[bytes], bytes]) -> None:
    content = make_tar(tmp_path / "made.tar", TRAIN).read_bytes()
    (tmp_path / f"x.{suffix}").write_bytes(packer(content))
    assert sizes(stored(tmp_path / f"x.{suffix}")) == HELD_OUT


@pytest.mark.parametrize("name", ["x", "x.tar", "x.tar.gz", "x.part.1"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_is_known_by_its_content(tmp_path: Path, name: str, method: int) -> None:
    with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
        for file, data in TRAIN.items():
            archive.writestr(file, data)
    assert sizes(stored(tmp_path / name)) == HELD_OUT
