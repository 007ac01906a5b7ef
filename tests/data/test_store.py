"""The data folders: what is written is what is opened, whole or not at all; and the `data` section of params.yaml."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.data import store
from deepcompress.data.heldout import open_heldout
from deepcompress.data.store import Arrays, open_fit
from deepcompress.errors import UserError
from tests.data import inputs
from tests.data.inputs import write
from tests.faults.damage import largest_file
from tests.house import ROOT

ARRAY = inputs.pixels(0, 12, 4, 3, 3)
NUMBERED = Arrays(np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3), np.repeat(np.arange(4), 10))


def test_opened_images_are_the_source_s_images_mapped_and_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "STATISTICS_BYTES", 2 * 9 * 9 * 3)  # of two images
    source = inputs.source(train=12, test=6, size=9)
    write(tmp_path, source)
    fit, heldout = open_fit(tmp_path / "fit", 7), open_heldout(tmp_path / "heldout", 7)
    stored = {
        image.tobytes(): label
        for part in (fit.train, fit.validation)
        for image, label in zip(part.images, part.labels, strict=True)
    }
    assert stored == {source.train.read(i).tobytes(): source.train.labels[i] for i in range(12)}
    assert (len(fit.train), len(fit.validation)) == (9, 3)
    assert (fit.train.images.dtype, fit.train.labels.dtype) == (np.uint8, np.int64)
    assert source.test
    assert (heldout.arrays.images == [source.test.read(i) for i in range(6)]).all()
    assert heldout.arrays.labels.tolist() == [0, 1, 2, 0, 1, 2]
    for arrays in (fit.train, fit.validation, heldout.arrays):
        assert arrays.budget_mib == 7
        assert not arrays.images.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            arrays.images[0] = 0
    assert heldout.meta == fit.meta
    assert fit.meta.classes == inputs.CLASSES
    assert fit.meta.counts == {"train": 9, "validation": 3, "heldout": 6}
    assert (fit.meta.image_size, fit.meta.source, fit.meta.checksum) == (9, "memory", "sha256:0")
    values = fit.train.images.astype(np.float64) / 255
    assert fit.meta.mean == tuple(np.round(values.mean(axis=(0, 1, 2)), 6))
    assert fit.meta.std == tuple(np.round(values.std(axis=(0, 1, 2)), 6))


@pytest.mark.parametrize(
    ("labels", "mixed"), [([0] * 20 + [1] * 20, True), ([1] * 20 + [0] * 20, True), ([0, 1] * 20, False)]
)
def test_images_that_come_class_by_class_are_mixed(tmp_path: Path, labels: list[int], mixed: bool) -> None:
    """A batch in stored order of one class has statistics of that class: a scan then took 97.9 % for 37.1."""
    own = np.array(labels)
    part = store.Part(own, lambda index: np.full((8, 8, 3), 2 * index + own[index], np.uint8))
    write(tmp_path, store.Source(("a", "b"), part, part, {"source": "memory", "checksum": ""}))
    fit = open_fit(tmp_path / "fit")
    for arrays in (fit.train, fit.validation, open_heldout(tmp_path / "heldout").arrays):
        assert (arrays.images[:, 0, 0, 0] % 2 == arrays.labels).all()
    stored = fit.train.images[:, 0, 0, 0].astype(int)
    assert (np.diff(stored) < 0).any() == mixed
    assert np.count_nonzero(np.diff(fit.train.labels)) > 10


def test_statistics_of_a_hand_worked_image() -> None:
    image = np.zeros((1, 1, 2, 3), dtype=np.uint8)
    image[..., 0] = [0, 255]
    image[..., 1] = [51, 51]
    mean, std = store.channel_statistics(image)
    assert mean == (0.5, 0.2, 0.0)
    assert std == (0.5, round(1 / 255, 6), round(1 / 255, 6)), "a constant channel varies by one grey level"


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(tmp_path / name, inputs.source(), seed=seed)
        files = sorted((tmp_path / name).rglob("*.*"))
        contents.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert contents[0]["fit/validation_images.npy"] != contents[2]["fit/validation_images.npy"]
    assert contents[0]["heldout/images.npy"] == contents[2]["heldout/images.npy"]


@pytest.mark.parametrize("dtype", ["|u1", "<f4"])
def test_an_array_written_in_pieces_is_what_numpy_saves(tmp_path: Path, dtype: str) -> None:
    array = ARRAY.astype(dtype)
    store.write_array(tmp_path / "rows.npy", [array[:5], array[5:10], array[10:]], 12)
    np.save(tmp_path / "saved.npy", array)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


@pytest.mark.parametrize("others", [[], [np.zeros((1, 3), np.uint8)], [np.zeros((1, 2))], [np.zeros((2, 2), np.uint8)]])
def test_pieces_that_do_not_fill_the_array_are_refused(tmp_path: Path, others: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"x\.npy"):
        store.write_array(tmp_path / "x.npy", [np.zeros((1, 2), np.uint8), *others], 2)


def test_a_nameless_file_must_be_filled_and_a_full_disk_is_named(project: Path) -> None:
    with pytest.raises(ValueError, match=r"colours/\w+/rows: 396 bytes, expected 432"):
        store.collected([ARRAY[:11]], ARRAY.shape, 0, "colours")
    with largest_file(100), pytest.raises(OSError, match="File too large") as raised:
        store.collected([ARRAY], ARRAY.shape, 0, "colours")
    assert str(raised.value.filename).startswith(f"{project}/.scratch/colours/")
    assert not [path for path in project.rglob("*") if path.is_file()]


@pytest.mark.parametrize("count", [20, 39])
@pytest.mark.parametrize("mib", [0, 1])
@pytest.mark.usefixtures("project")
def test_a_sample_keeps_order_and_labels(monkeypatch: pytest.MonkeyPatch, count: int, mib: int) -> None:
    monkeypatch.setattr(store, "SAMPLED_AT_ONCE", 5)
    sample = store.sampled(replace(NUMBERED, budget_mib=mib), count, seed=0)
    rows = sample.images[:, 0, 0, 0]
    assert (len(sample), sample.budget_mib) == (count, mib)
    assert (np.diff(rows) > 0).all()
    assert (sample.labels == NUMBERED.labels[rows]).all()
    assert set(sample.labels) == {0, 1, 2, 3}, "classes that lie in blocks are all met"


def test_the_seed_decides_on_the_sample_and_all_images_are_their_own() -> None:
    same, again, other = (store.sampled(NUMBERED, 12, seed=seed).images for seed in (0, 0, 1))
    assert (same == again).all()
    assert not (same == other).all()
    assert all(store.sampled(NUMBERED, count, seed=0) is NUMBERED for count in (40, 41))


def test_every_class_gives_the_same_fraction() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 40])
    kept, drawn = store.stratified(labels, 0.1, seed=0)
    assert np.bincount(labels[drawn]).tolist() == [1, 2, 4]
    assert np.bincount(labels[kept]).tolist() == [9, 18, 36]


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**63 - 1),
)
def test_both_sides_together_are_all_rows_and_hold_every_class_of_two(
    labels: list[int], fraction: float, seed: int
) -> None:
    array = np.array(labels)
    kept, drawn = store.stratified(array, fraction, seed)
    assert sorted([*kept, *drawn]) == list(range(len(labels)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(drawn) > 0).all()
    for label in set(labels):
        assert label in array[kept]
        assert (label in array[drawn]) == (labels.count(label) > 1)


def test_a_class_with_too_few_images_is_named(tmp_path: Path) -> None:
    message = r"^pets\.zip: class 'bee' must have at least 2 images, got 1: one for each$"
    with pytest.raises(UserError, match=message):
        store.require_images(np.array([0, 0, 1]), ["ant", "bee"], least=2, reason="one for each", where="pets.zip")
    with pytest.raises(UserError, match="class 'cat' must have at least 1 images, got 0"):
        store.require_images(np.array([0, 1]), ["ant", "bee", "cat"], least=1, reason="", where="pets.zip")
    with pytest.raises(UserError, match="class 'cat' must have at least 2 images, got 1"):
        write(tmp_path, inputs.source(train=5))
    assert list(tmp_path.iterdir()) == []


def test_a_source_without_test_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="memory has no test images"):
        write(tmp_path, inputs.source(test=None))


def test_folders_appear_together_or_not_at_all_and_leftovers_of_a_killed_run_go(tmp_path: Path) -> None:
    def written(killed: bool) -> list[str]:
        with suppress(KeyboardInterrupt), store.atomic_folders(tmp_path / "a", tmp_path / "b") as (a, b):
            (a / "x").write_text("x")
            (b / "y").write_text("y")
            assert not (tmp_path / "a").exists()
            assert not (tmp_path / "b").exists()
            if killed:
                raise KeyboardInterrupt
        return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))

    (tmp_path / ".a.partial").mkdir()
    (tmp_path / ".a.partial/half.npy").write_bytes(b"half")
    assert written(killed=True) == []
    assert written(killed=False) == ["a", "a/x", "b", "b/y"]


OTHER = r"must be uint8 \(9, 8, 8, 3\), got"
DAMAGES: list[tuple[str, Callable[[bytes], bytes | None], str]] = [
    ("train_images.npy", lambda content: None, "no such file"),
    ("meta.json", lambda content: None, "no such file"),
    ("meta.json", lambda content: content.replace(b"classes", b"names"), "must hold classes, "),
    ("meta.json", lambda content: b"{", "damaged"),
    ("train_images.npy", lambda content: content[:-9], "damaged"),
    ("train_images.npy", lambda content: b"\x93NUMPY", "damaged"),
    ("train_labels.npy", lambda content: b"", "damaged"),
    ("train_images.npy", lambda content: content.replace(b"|u1", b"|i1"), rf"{OTHER} int8 \(9, 8, 8, 3\)"),
    ("train_images.npy", lambda content: content.replace(b"(9, 8", b"(3, 8"), rf"{OTHER} uint8 \(3, 8, 8, 3\)"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_a_damaged_folder_is_refused_and_the_file_named(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes | None], message: str
) -> None:
    write(tmp_path, inputs.source())
    path = tmp_path / "fit" / name
    content = damage(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: {message}"):
        open_fit(tmp_path / "fit")
    with pytest.raises(UserError, match=r"nowhere/meta\.json: no such file"):
        open_heldout(tmp_path / "nowhere")


def test_no_stage_names_the_budget_so_that_a_change_makes_nothing_stale() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    keys = {str(key) for body in stages.values() for key in body.get("do", body).get("params", [])}
    assert "data.source" in keys
    assert not {"data", "data.device_budget_mib"} & keys
