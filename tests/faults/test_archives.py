"""Spoilt archives and images: refused in a line, nothing written beside, no memory filled."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deepcompress.data import images
from deepcompress.data.archives import open_tree
from deepcompress.data.sources import folder
from deepcompress.errors import UserError
from tests.data.inputs import encoded, image_files, make_tar, make_zip, pixels
from tests.faults.damage import below, fuzz, read_or_refused, spoilt

FILES = image_files(train=2, test=1)
KINDS = ("zip", "tar", "tar.gz")
NAMES = ("../x", "/x", "a/../../x", "..\\x", "C:\\x", "\0", "", ".", "..", "a\nb", "\u202ex", "a" * 5000,
         "a/" * 2000 + "x",
         "con", "~/x")  # fmt: skip


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("archives")
    made = {kind: make_tar(place / f"x.{kind}", FILES).read_bytes() for kind in KINDS[1:]}
    with zipfile.ZipFile(place / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # of 1980: the same bytes at every run
    return {"zip": (place / "x.zip").read_bytes(), **made}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, in a folder where nothing may appear beside it."""
    place = tmp_path / "canary" / "work"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    return place


def read(path: Path, content: bytes) -> str | None:
    """Open an archive as the data source does, and read every image."""
    path.write_bytes(content)

    def everything() -> None:
        options = folder.Options(path=str(path))
        source = folder.load(options, stored_size=8, seed=0, workspace=path.parent)
        assert source.test
        for part in (source.train, source.test):
            for number in range(len(part)):
                part.read(number)

    message = read_or_refused(everything, naming=path.name)
    assert set(below(path.parents[1])) == {f"work/{path.name}"}
    return message


@pytest.mark.parametrize("kind", KINDS)
@fuzz(50)
@given(data=st.data())
def test_spoilt_archives(archives: dict[str, bytes], work: Path, kind: str, data: st.DataObject) -> None:
    assert read(work / f"x.{kind}", archives[kind]) is None
    read(work / f"x.{kind}", data.draw(spoilt(archives[kind])))


@fuzz(40)
@given(data=st.data())
def test_the_lists_of_a_zip(archives: dict[str, bytes], work: Path, data: st.DataObject) -> None:
    """Faults where a zip says what it holds: its end and its directory, a tenth of the file."""
    content = archives["zip"]
    start = content.index(b"PK\x01\x02")
    read(work / "x.zip", content[:start] + data.draw(spoilt(content[start:])))


@fuzz(30)
@given(data=st.data())
def test_the_headers_of_a_tar(archives: dict[str, bytes], work: Path, data: st.DataObject) -> None:
    """Faults in a header whose checksum is right again."""
    content = bytearray(archives["tar"])
    start = 1024 * data.draw(st.integers(0, 5))
    header = bytearray(data.draw(spoilt(bytes(content[start : start + 512])))[:512].ljust(512, b"\0"))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[start : start + 512] = header
    read(work / "x.tar", bytes(content))


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_odd_names(work: Path, name: str) -> None:
    with tarfile.open(work.parent / "made", "w", format=tarfile.PAX_FORMAT) as archive:
        for one in (*FILES, name):
            member = tarfile.TarInfo(one)
            member.size = len(FILES.get(one, b""))
            archive.addfile(member, io.BytesIO(FILES.get(one, b"")))
    content = (work.parent / "made").read_bytes()
    (work.parent / "made").unlink()
    read(work / "x.tar", content)


def test_a_sparse_file_of_a_tar_is_refused(work: Path) -> None:
    """It claims 200 MiB and takes one block: no ratio sees that, because a plain tar packs nothing."""
    member = tarfile.TarInfo("train/ant/0.png")
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:398], header[398:410] = b"%011o\0" % 0, b"%011o\0" % 0
    header[483:495] = b"%011o\0" % (200 << 20)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (work / "x.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(UserError, match=r"x\.tar: train/ant/0\.png is a link, device or sparse file"):
        open_tree(work / "x.tar", work)


def test_a_zip_whose_members_overlap_reads_no_member_twice(work: Path) -> None:
    content = make_zip(work / "x.zip", {"train/a/1.png": bytes(100), "train/b/1.png": bytes(100)}).read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    overlapping = content[: directory + 42] + struct.pack("<I", 0) + content[directory + 46 :]
    assert read(work / "x.zip", overlapping)


def pictures() -> list[bytes]:
    colour, grey = pixels(0, 16, 16, 3), Image.fromarray(pixels(1, 16, 16))
    more = [Image.fromarray(pixels(n, 16, 16)) for n in range(3)]
    return [
        encoded(colour), encoded(colour, "JPEG"), encoded(colour, "BMP"), encoded(colour, "TIFF"),
        encoded(colour, "PPM"),
        encoded(colour, "WEBP"), encoded(colour, "JPEG2000"), encoded(grey, "GIF", save_all=True, append_images=more),
        encoded(grey, "PNG", save_all=True, append_images=more), encoded(grey.convert("LA")),
        encoded(Image.fromarray(colour).quantize(9)), encoded(colour, "TIFF", compression="tiff_lzw"),
    ]  # fmt: skip


@fuzz(150)
@given(data=st.data())
def test_spoilt_images(data: st.DataObject) -> None:
    content = data.draw(spoilt(data.draw(st.sampled_from(PICTURES))))
    read_or_refused(lambda: images.decode(content, 8, name="x.png"), naming="x.png")


PICTURES = pictures()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_the_text_of_a_png_that_unpacks_to_much_is_left_aside() -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20 << 20), 9))
    good = encoded(pixels(0, 8, 8, 3))
    spoilt_file = good[:33] + bomb + good[33:]
    assert (images.decode(spoilt_file, 8, name="x.png") == images.decode(good, 8, name="x.png")).all()


def test_a_zip_with_a_password_is_refused(work: Path) -> None:
    with zipfile.ZipFile(work / "made.zip", "w") as archive:
        archive.writestr("train/ant/0.png", b"x")
    content = bytearray((work / "made.zip").read_bytes())
    (work / "made.zip").unlink()
    content[6] |= 1  # the header beside the data alone says so
    assert read(work / "x.zip", bytes(content))
