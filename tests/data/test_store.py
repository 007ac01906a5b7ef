"""The data folders: what is written is what is opened, whole or not at all."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepcompress.data.heldout import open_heldout
from deepcompress.data.row_file import RowFile
from deepcompress.data.store import Part, Source, open_fit, write_fit, write_heldout
from deepcompress.data.writing import channel_statistics, whole, write_array
from deepcompress.errors import UserError
from tests.data import inputs


def write(folder: Path, source: Source, seed: int = 0) -> None:
    meta = write_fit(folder / "fit", source, validation_fraction=0.25, seed=seed)
    write_heldout(folder / "heldout", source, meta=meta)


def test_opened_images_are_the_source_s_images(tmp_path: Path) -> None:
    source = inputs.source(train=12, test=6)
    write(tmp_path, source)
    fit = open_fit(tmp_path / "fit")
    stored = {
        image.tobytes(): label
        for part in (fit.train, fit.validation)
        for image, label in zip(part.images, part.labels, strict=True)
    }
    given = {source.train.read(i).tobytes(): source.train.labels[i] for i in range(12)}
    assert stored == given
    assert (len(fit.train), len(fit.validation)) == (9, 3)
    assert fit.train.images.dtype == np.uint8
    assert fit.train.labels.dtype == np.int64
    assert isinstance(fit.train.images, RowFile)
    heldout = open_heldout(tmp_path / "heldout")
    assert (np.asarray(heldout.arrays.images) == [source.test.read(i) for i in range(6)]).all()  # type: ignore[union-attr]
    assert heldout.arrays.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert heldout.meta == fit.meta


def test_meta_tells_classes_counts_and_origin(tmp_path: Path) -> None:
    write(tmp_path, inputs.source(train=12, test=6, size=9))
    meta = open_fit(tmp_path / "fit").meta
    assert meta.classes == inputs.CLASSES
    assert meta.counts == {"train": 9, "validation": 3, "heldout": 6}
    assert (meta.image_size, meta.source, meta.checksum) == (9, "memory", "sha256:0")


def test_statistics_are_those_of_the_training_images_alone(tmp_path: Path) -> None:
    write(tmp_path, inputs.source())
    fit = open_fit(tmp_path / "fit")
    values = np.asarray(fit.train.images, dtype=np.float64) / 255
    assert fit.meta.mean == tuple(np.round(values.mean(axis=(0, 1, 2)), 6))
    assert fit.meta.std == tuple(np.round(values.std(axis=(0, 1, 2)), 6))


def test_statistics_of_a_hand_worked_image() -> None:
    image = np.zeros((1, 1, 2, 3), dtype=np.uint8)
    image[..., 0] = [0, 255]
    image[..., 1] = [51, 51]
    mean, std = channel_statistics(image)
    assert mean == (0.5, 0.2, 0.0)
    assert std == (0.5, round(1 / 255, 6), round(1 / 255, 6)), "a constant channel varies by one grey level"


def test_statistics_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = inputs.pixels(0, 7, 5, 5, 3)
    expected = channel_statistics(images)
    monkeypatch.setattr("deepcompress.data.writing.STATISTICS_BYTES", 2 * images[0].nbytes)
    assert channel_statistics(images) == expected


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(tmp_path / name, inputs.source(), seed)
    contents = [
        {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*.*"))}
        for top in (tmp_path / "a", tmp_path / "b", tmp_path / "c")
    ]
    assert contents[0] == contents[1]
    assert contents[0]["fit/validation_images.npy"] != contents[2]["fit/validation_images.npy"]
    assert contents[0]["heldout/images.npy"] == contents[2]["heldout/images.npy"]


def test_an_array_written_in_rows_is_what_numpy_saves(tmp_path: Path) -> None:
    array = inputs.pixels(0, 5, 2, 2, 3)
    write_array(tmp_path / "rows.npy", (array[i : i + 2] for i in (0, 2, 4)), shape=array.shape, dtype="|u1")
    np.save(tmp_path / "saved.npy", array)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


@pytest.mark.parametrize("rows", [np.zeros((1, 2), np.uint8), np.zeros((2, 3), np.uint8), np.zeros((2, 2), np.int64)])
def test_rows_that_do_not_fill_the_array_are_refused(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"x\.npy"):
        write_array(tmp_path / "x.npy", [rows], shape=(2, 2), dtype="|u1")


def test_a_failing_image_leaves_the_old_folder_as_it_was(tmp_path: Path) -> None:
    source = inputs.source()
    write(tmp_path, source)
    before = (tmp_path / "fit/train_images.npy").read_bytes()

    def broken(index: int) -> np.ndarray:
        if index == 7:
            raise UserError("7.png: no image")
        return source.train.read(index)

    with pytest.raises(UserError, match=r"7\.png"):
        write(tmp_path, replace(source, train=Part(source.train.labels, broken)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit", "heldout"]
    assert (tmp_path / "fit/train_images.npy").read_bytes() == before


def test_folders_appear_together_and_leftovers_of_a_killed_run_go(tmp_path: Path) -> None:
    (tmp_path / ".a.partial").mkdir()
    (tmp_path / ".a.partial/half.npy").write_bytes(b"half")
    with whole(tmp_path / "a", tmp_path / "b") as (a, b):
        (a / "x").write_text("x")
        (b / "y").write_text("y")
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "b").exists()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "a/x", "b", "b/y"]


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with whole(tmp_path / "a", tmp_path / "b") as (a, _):
            (a / "x").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """The system refuses larger files; to the writer that is what a full disk is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_error_that_names_a_file_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="fit") as caught, largest_file(1000):
        write_fit(tmp_path / "fit", inputs.source(), validation_fraction=0.25, seed=0)
    assert caught.value.errno is not None
    assert list(tmp_path.iterdir()) == []


def test_a_source_without_test_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="memory has no test images"):
        write(tmp_path, inputs.source(test=None))


def test_a_class_with_one_training_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class 'cat' must have at least 2 images, got 1"):
        write(tmp_path, inputs.source(train=5))
    assert list(tmp_path.iterdir()) == []


def damage_meta(folder: Path) -> None:
    content = json.loads((folder / "meta.json").read_text())
    content.pop("classes")
    (folder / "meta.json").write_text(json.dumps(content))


DAMAGES = {
    "no images": (lambda fit: (fit / "train_images.npy").unlink(), r"train_images\.npy: no such file"),
    "no meta": (lambda fit: (fit / "meta.json").unlink(), r"meta\.json: no such file"),
    "keys missing": (damage_meta, r"meta\.json: must hold classes, "),
    "no JSON": (lambda fit: (fit / "meta.json").write_text("{"), r"meta\.json: damaged"),
    "cut off": (
        lambda fit: (fit / "train_images.npy").write_bytes((fit / "train_images.npy").read_bytes()[:-9]),
        r"train_images\.npy: damaged",
    ),
    "empty": (lambda fit: (fit / "train_labels.npy").write_bytes(b""), r"train_labels\.npy: damaged"),
    "other images": (
        lambda fit: np.save(fit / "train_images.npy", np.zeros((1, 8, 8, 3))),
        r"train_images\.npy: must be uint8 \(9, 8, 8, 3\), got float64 \(1, 8, 8, 3\)",
    ),
}


@pytest.mark.parametrize("case", sorted(DAMAGES))
def test_a_damaged_folder_is_refused_and_the_file_named(tmp_path: Path, case: str) -> None:
    damage, message = DAMAGES[case]
    write(tmp_path, inputs.source())
    damage(tmp_path / "fit")
    with pytest.raises(UserError, match=message):
        open_fit(tmp_path / "fit")
