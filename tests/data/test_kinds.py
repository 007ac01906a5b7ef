"""One rule says what is an image: by content, or by name; never what programs leave behind."""

from __future__ import annotations

import numpy as np
import pytest

from deepcompress.data import kinds
from tests.data.inputs import encoded, pixels

COLOUR, GREY = pixels(0, 9, 9, 3), pixels(1, 9, 9)


@pytest.mark.parametrize(
    "name",
    [
        "Thumbs.db", "THUMBS.DB", "ehthumbs.db", "Desktop.ini", "desktop.INI", "a/.DS_Store", "a/._b.png", ".git/x.png",
        "@eaDir/b.png/SYNOPHOTO_THUMB_XL.jpg", "a/@EADIR/b.jpg", "#recycle/b.jpg", "__MACOSX/a/._b.png", "Icon\r",
        "$RECYCLE.BIN/b.png", "System Volume Information/x", "lost+found/b.jpg", "b.png~", "b.jpg.part", "b.png.TMP",
        "b.jpeg.crdownload", ".b.png.swp", "a/.ipynb_checkpoints/b.png", "Picasa.ini", "b.jpg.bak",
        ".Trash-1000/b.png", "a/.stfolder/x",
    ],
)  # fmt: skip
def test_what_programs_leave_behind_is_litter_in_any_case(name: str) -> None:
    assert kinds.is_litter(f"train/{name}")


@pytest.mark.parametrize(
    "name",
    ["b.png", "icon.png", "a~b/c.png", "part/c.png", "thumbs/1.jpg", "tmp.png", "x.tmp/b.png", "a b (1).JPG", "b"],
)
def test_what_people_name_so_is_none(name: str) -> None:
    assert not kinds.is_litter(f"train/{name}")


@pytest.mark.parametrize(
    "content",
    [
        encoded(COLOUR), encoded(COLOUR, "JPEG"), encoded(COLOUR, "BMP"), encoded(GREY, "GIF"), encoded(COLOUR, "TIFF"),
        encoded(COLOUR, "TIFF", big_tiff=True), encoded(COLOUR, "WEBP"), encoded(COLOUR, "AVIF"),
        encoded(COLOUR, "PPM"), encoded(GREY, "PPM"), encoded(GREY > 9, "PPM"), encoded(COLOUR, "JPEG2000"),
        encoded(COLOUR, "JPEG2000", no_jp2=True), encoded(GREY.astype(np.uint16)),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    ],
)  # fmt: skip
def test_an_image_counts_under_any_name(content: bytes) -> None:
    for name in ("a.png", "a", "a.txt", "a.2024-01-01"):
        assert kinds.counts(name, content[: kinds.HEAD_BYTES])


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("notes.txt", b"Dear diary", False),
        ("labels.csv", b"path,label\n", False),
        ("BMW.txt", b"BMW and other cars of the Bavarians", False),
        ("P1.txt", b"P1 is the first", False),
        ("a.json", b"{}", False),
        ("a.npy", b"\x93NUMPY", False),
        ("clip.mp4", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", False),
        ("sound.wav", b"RIFF\0\0\0\0WAVEfmt ", False),
        ("empty", b"", False),
        ("empty.png", b"", True),
        ("page.jpg", b"<!DOCTYPE html>", True),
        ("photo.HEIC", b"", True),
        ("photo.NEF", b"", True),
        ("a.jfif", b"", True),
        ("a.JPE", b"", True),
    ],
)
def test_a_name_promises_an_image_and_other_files_do_not_count(name: str, content: bytes, expected: bool) -> None:
    assert kinds.counts(name, content) == expected


def test_the_first_names_stand_for_all() -> None:
    assert kinds.named(["a", "b"]) == "a, b"
    assert kinds.named(map(str, range(8))) == "0, 1, 2, 3, 4 and 3 more"
