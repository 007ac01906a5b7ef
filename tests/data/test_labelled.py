"""Files with labels: what is no image, cannot be read or is there twice goes or stops the run, and is told of."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from deepcompress.data.labelled import SPLITS, Files, Labelled, as_source
from deepcompress.data.store import Source
from deepcompress.errors import UserError
from tests.data.inputs import CLASSES, encoded, image_files, pixels, sizes

SIDE = 8


def image(number: int) -> bytes:
    return encoded(pixels(number, SIDE, SIDE, 3))


def source(files: Mapping[str, bytes], **options: Any) -> Source:
    listed = [Labelled(name, name.split("/")[1], SPLITS[name.split("/")[0]]) for name in sorted(files)]
    origin = {"source": "folder", "address": "pets"}
    made = Files(**options)
    return as_source(listed, files.__getitem__, made, classes=CLASSES, origin=origin, stored_size=SIDE, seed=0)


def test_up_to_one_per_cent_of_bad_images_are_skipped() -> None:
    files = {f"train/{CLASSES[n % 3]}/{n}.png": image(n) for n in range(300)}
    files |= {f"test/{name}/t.png": image(1000 + i) for i, name in enumerate(CLASSES)}
    bad = [f"train/ant/{3 * n}.png" for n in range(3)]
    made = source(files | dict.fromkeys(bad, b"cut"), on_bad_image="skip")
    assert sizes(made) == (297, 0, 3)
    assert made.skipped == {"cannot be read": tuple(bad)}


def test_more_bad_images_stop_the_run() -> None:
    message = (
        r"^pets: 1 of 18 images cannot be read, and data.folder.on_bad_image: skip leaves out 1 % at most; .*0\.png"
    )
    with pytest.raises(UserError, match=message):
        source(image_files() | {"test/ant/0.png": b"cut"}, on_bad_image="skip")


def test_other_files_are_ignored_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    more = {"train/ant/notes.txt": b"Dear diary", "test/bee/a.xml": b"<a/>"}
    made = source(image_files() | more)
    assert sizes(made) == (12, 0, 6)
    assert made.skipped == {"no image": tuple(sorted(more))}
    assert "no images, ignored: 2 file(s): test/bee/a.xml, train/ant/notes.txt" in caplog.text


@pytest.mark.parametrize(
    ("copies", "gone", "left"),
    [
        ({}, (), (12, 3, 6)),
        ({"train/ant/copy.png": "test/ant/0.png"}, ("train/ant/copy.png",), (12, 3, 6)),
        ({"train/bee/other.png": "test/ant/0.png"}, ("train/bee/other.png",), (12, 3, 6)),
        ({"valid/ant/copy.png": "test/ant/0.png"}, ("valid/ant/copy.png",), (12, 3, 6)),
        ({"train/ant/copy.png": "valid/ant/v.png"}, ("train/ant/copy.png",), (12, 3, 6)),
        ({"train/ant/copy.png": "train/ant/0.png"}, (), (13, 3, 6)),
        ({"test/ant/copy.png": "test/ant/0.png"}, (), (12, 3, 7)),
        ({"train/ant/0.png": "test/ant/0.png", "valid/ant/c.png": "test/ant/0.png"},
         ("valid/ant/c.png", "train/ant/0.png"), (11, 3, 6)),
    ],
)  # fmt: skip
def test_validation_images_are_those_to_choose_on_and_copies_go_from_the_side_that_is_learnt_from(
    copies: dict[str, str], gone: tuple[str, ...], left: tuple[int, int, int]
) -> None:
    files = image_files() | {f"valid/{name}/v.png": image(100 + i) for i, name in enumerate(CLASSES)}
    made = source(files | {new: files[old] for new, old in copies.items()})
    assert sizes(made) == left
    assert made.skipped.get("duplicate", ()) == gone
    assert made.validation is not None
    assert (made.validation.read(0) == pixels(100, SIDE, SIDE, 3)).all()


def test_a_copy_among_the_training_images_goes_where_these_are_split() -> None:
    files = image_files(train=5)
    made = source(files | {"train/ant/0 (1).png": files["train/ant/0.png"]})
    assert sizes(made) == (15, 0, 6)
    assert made.skipped == {"duplicate": ("train/ant/0.png",)}


def test_copies_stop_the_run_where_params_say_so() -> None:
    files = image_files()
    files |= {"train/bee/c.png": files["test/ant/0.png"], "train/ant/c.png": files["test/ant/1.png"]}
    message = (
        r"^pets: 2 images are there twice, 1 of them under two classes; the first: test/ant/1\.png and "
        r"train/ant/c\.png; remove one of each, or set data\.folder\.on_duplicate: drop$"
    )
    with pytest.raises(UserError, match=message):
        source(files, on_duplicate="stop")
    assert sizes(source(image_files(), on_duplicate="stop")) == (12, 0, 6)
    del files["train/ant/c.png"]
    with pytest.raises(UserError, match=r"1 image is there twice, 1 of them under two classes"):
        source(files, on_duplicate="stop")


def test_a_class_that_loses_all_its_images_is_named() -> None:
    files = image_files(train=2, test=1) | {"train/cat/0.png": b"", "train/cat/1.png": b""}
    files = {name.replace(".png", ".txt"): content for name, content in files.items()}
    with pytest.raises(UserError, match=r"^pets: class 'cat' has no image in train, it needs some there$"):
        source(files)


def grey(largest: int, number: int = 0) -> bytes:
    values = np.random.default_rng(number).integers(0, largest, (SIDE, SIDE), endpoint=True).astype(np.uint16)
    values[0, 0] = largest
    return encoded(values)


def deep(largest: int) -> dict[str, bytes]:
    return {name: grey(largest, number) for number, name in enumerate(image_files())}


@pytest.mark.parametrize(("largest", "told"), [(4095, True), (1023, True), (16383, True), (60000, False)])
def test_a_set_that_leaves_most_of_its_range_unused_is_warned_of(
    largest: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    made = source(deep(largest))
    assert ("data.folder.max_value says which is white" in caplog.text) == told
    assert (f"is {largest} of 65535" in caplog.text) == told
    assert made.white == 65535


def test_the_range_that_params_name_is_used(caplog: pytest.LogCaptureFixture) -> None:
    made = source(deep(4095), max_value=4095)
    assert caplog.text == ""
    assert made.white == 4095
    first = made.train.read(0)
    assert first.max() == 255
    assert len(np.unique(first)) > 30
