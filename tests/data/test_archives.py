"""Folders and archives are listed alike, and what could do harm is refused; one rule says what is an image."""

import gzip
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepcompress.data.archives import FOREIGN, HEAD_BYTES, counts, is_litter, open_tree
from deepcompress.errors import UserError, named
from tests.data.inputs import encoded, make_folder, make_tar, make_zip, packed, pixels

MIB = 1 << 20


def test_names_with_dots_and_backslashes_are_tidied(tmp_path: Path) -> None:
    assert open_tree(make_tar(tmp_path / "x.tar", {"./a/./1.txt": b""}), tmp_path).files == ("a/1.txt",)
    tree = open_tree(make_zip(tmp_path / "x.zip", {"a\\": b"", "a\\1.txt": b""}), tmp_path)
    assert (tree.files, tree.folders) == (("a/1.txt",), ("a",))


@pytest.mark.parametrize("name", ["../a.png", "train/../../a.png", "/etc/a.png", "..\\a.png", "C:\\a.png"])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_member_that_escapes_its_folder_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(UserError, match=rf"x\.{kind}: .*a\.png' escapes its folder"):
        open_tree(packed(tmp_path, kind, {name: b""}), tmp_path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_a_link_a_device_or_a_sparse_file_in_a_tar_is_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("train/a.png")
    member.type, member.linkname = kind, "/etc/passwd"
    (tmp_path / "x.tar").write_bytes(member.tobuf() + bytes(1024))
    with pytest.raises(UserError, match=r"x\.tar: train/a\.png is a link, device or sparse file"):
        open_tree(tmp_path / "x.tar", tmp_path)


METHODS = {9: "Deflate64", 98: "PPMd", 95: "xz", 1: "Shrink", 77: "method 77"}
ENTRIES = [  # where in a member's entry of the directory, what stands there, what is told
    (8, b"\1", " is encrypted"),
    *((10, bytes([m]), f" is packed by {name}, which Python cannot read; pack") for m, name in METHODS.items()),
    (38, struct.pack("<I", stat.S_IFLNK << 16), " is a link"),
    (42, bytes(4), ": is damaged"),  # it lies where another member does
]


@pytest.mark.parametrize(("at", "entry", "told"), ENTRIES)
def test_a_member_of_a_zip_that_is_no_plain_file_of_its_own_is_refused(
    tmp_path: Path, at: int, entry: bytes, told: str
) -> None:
    path = make_zip(tmp_path / "x.zip", {"1.png": b"one", "2.png": b"two"})
    content = path.read_bytes()
    place = content.rindex(b"PK\x01\x02") + at
    path.write_bytes(content[:place] + entry + content[place + len(entry) :])
    with pytest.raises(UserError, match=rf"x\.zip: 2\.png{told}"):
        open_tree(path, tmp_path).read("2.png")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=rf"x\.{kind}: a/1\.txt is there twice"):
        open_tree(packed(tmp_path, kind, {"a/1.txt": b"1", "./a//1.txt": b"2"}), tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_decompression_bomb_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=rf"x\.{kind}: .*a decompression bomb"):
        open_tree(packed(tmp_path, kind, {"a.png": bytes(4 * MIB)}), tmp_path)


def test_a_member_too_large_for_memory_is_refused(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a.png")
    member.size = 1 << 40
    path = tmp_path / "x.tar"
    path.write_bytes(member.tobuf())
    with pytest.raises(UserError, match=r"x\.tar: a\.png unpacks to 1099511627776 bytes"):
        open_tree(path, tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_truncated_archive_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = packed(tmp_path, kind, {f"{i}.bin": os.urandom(2000) for i in range(5)})
    content = path.read_bytes()
    end = len(content) if kind != "tar" else 5 * (512 + 2048)
    path.write_bytes(content[: int(end * share)])
    with pytest.raises(UserError, match=rf"x\.{kind}: is damaged or truncated"):
        open_tree(path, tmp_path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda content: content[:1024], "cut off"),  # between two members
        (lambda content: content[:1034] + b"!" + content[1035:], ".*broken header"),
    ],
)
def test_a_tar_that_ends_between_members_or_has_a_damaged_header_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], told: str
) -> None:
    path = make_tar(tmp_path / "x.tar", {"1": bytes(512), "2": bytes(512)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"x\.tar: is damaged or truncated \({told}"):
        open_tree(path, tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_a_zip_is_named_when_it_is_read(tmp_path: Path, method: int) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.png", bytes(range(256)) * 8)
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.zip: a\.png: is damaged"):
        open_tree(path, tmp_path).read("a.png")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (gzip.compress(b"no tar" * 200, mtime=0), "is damaged"),
        (b"path,label\n", r"is text \(a table is for data\.source: csv\), and must be a folder"),
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page, and must be a folder, a zip or a tar of images"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"is a pointer of Git LFS \(git lfs pull brings the file\)"),
        (encoded(pixels(0, 8, 8, 3)), "is one image, and must be"),
        (b"%PDF-1.7", "is a PDF, and must be"),
        *((start + bytes(99), f"is packed by {kind}; unpack it") for start, kind in FOREIGN.items()),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=f"{name}: no such file or folder"):
        open_tree(tmp_path / name, tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: {message}"):
        open_tree(tmp_path / name, tmp_path)


def test_a_tar_whose_first_name_starts_as_an_image_or_a_film_is_read(tmp_path: Path) -> None:
    for name in ("BM_images_2024(/a.png", "P1 12 7 /a", "abcdftypical/a"):
        assert open_tree(make_tar(tmp_path / "x.tar", {name: b"x"}), tmp_path).files == (name,)


def test_linked_folders_are_followed_and_a_circle_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path / "elsewhere", {"1.txt": b"one"})
    top = make_folder(tmp_path / "top", {"b/2.txt": b"two"})
    (top / "a").symlink_to(tmp_path / "elsewhere")
    (top / "c").symlink_to(tmp_path / "elsewhere")
    assert open_tree(top, tmp_path).files == ("a/1.txt", "b/2.txt", "c/1.txt")
    (top / "b/up").symlink_to(top)
    with pytest.raises(UserError, match="b/up: is a link to a folder that contains it"):
        open_tree(top, tmp_path)


def test_a_link_to_nowhere_is_named_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"a\.png: is no file that can be read"):
        open_tree(tmp_path, tmp_path).read("a.png")


# What counts as an image: by content, or by name; never what programs leave behind.

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
    assert is_litter(f"train/{name}")


@pytest.mark.parametrize(
    "name",
    ["b.png", "icon.png", "a~b/c.png", "part/c.png", "thumbs/1.jpg", "tmp.png", "x.tmp/b.png", "a b (1).JPG", "b"],
)
def test_what_people_name_so_is_none(name: str) -> None:
    assert not is_litter(f"train/{name}")


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
        assert counts(name, content[:HEAD_BYTES])


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
    assert counts(name, content) == expected


def test_the_first_names_stand_for_all() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named(map(str, range(8))) == "0, 1, 2, 3, 4 and 3 more"
