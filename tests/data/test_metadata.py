"""Pixels that load are read whatever lies beside them, and what decides on them is not left out."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from deepcompress.data.images import decode, without_metadata
from tests.data.inputs import encoded, pixels

PICTURE = Image.fromarray(pixels(3, 8, 16, 3))
PNG, JPEG, TIFF = (encoded(PICTURE, kind) for kind in ("PNG", "JPEG", "TIFF"))
PLAIN = {"PNG": PNG, "JPEG": JPEG, "TIFF": TIFF}


def chunk(kind: bytes, content: bytes, *, checksum: int = 0) -> bytes:
    check = zlib.crc32(kind + content) ^ checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(kind: bytes, content: bytes, *, checksum: int = 0) -> bytes:
    """With one more chunk behind the header."""
    return PNG[:33] + chunk(kind, content, checksum=checksum) + PNG[33:]


def jpeg(marker: int, content: bytes) -> bytes:
    """With one more segment at its start."""
    return JPEG[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + JPEG[2:]


def tiff(tag: int, kind: int, count: int, value: bytes) -> bytes:
    """With one more tag, in a directory at the end."""
    (start,) = struct.unpack_from("<I", TIFF, 4)
    (number,) = struct.unpack_from("<H", TIFF, start)
    entries = [TIFF[start + 2 + 12 * n :][:12] for n in range(number)] + [
        struct.pack("<HHI4s", tag, kind, count, value)
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(sorted(entries, key=lambda e: e[1::-1])) + bytes(4)
    return TIFF[:4] + struct.pack("<I", len(TIFF)) + TIFF[8:] + directory


LONG = zlib.compress(bytes(3 << 20))
ODD = {
    "PNG, 2 MiB profile": png(b"iCCP", b"icc\0\0" + LONG),
    "PNG, 3 MiB text": png(b"zTXt", b"Comment\0\0" + LONG),
    "PNG, 3 MiB XMP": png(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG),
    "PNG, density of no bytes": png(b"pHYs", b""),
    "PNG, colour space of no bytes": png(b"sRGB", b""),
    "PNG, gamma of one byte": png(b"gAMA", b"\0"),
    "PNG, primaries of one byte": png(b"cHRM", b"\0"),
    "PNG, frame of no bytes": png(b"fcTL", b""),
    "PNG, checksum of a text": png(b"tEXt", b"a\0b", checksum=1),
    "PNG, checksum of EXIF": png(b"eXIf", b"II*\0", checksum=1),
    "JPEG, profile of no bytes": jpeg(0xE2, b"ICC_PROFILE\0"),
    "JPEG, JFIF of no bytes": jpeg(0xE0, b"JFIF\0"),
    "JPEG, Adobe of no bytes": jpeg(0xEE, b"Adobe"),
    "JPEG, cut MPF": jpeg(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
    "JPEG, XMP that is no text": jpeg(0xE1, b"http://ns.adobe.com/xap/1.0/\0<\xff\xfe"),
    "JPEG, IPTC beyond its end": jpeg(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\xff\xff\xff"),
    "TIFF, XMP as a number": tiff(700, 4, 1, b"\1\0\0\0"),
    "TIFF, Photoshop's as signed": tiff(34377, 9, 1, b"\xff\xff\xff\xff"),
    "TIFF, pointer to EXIF beyond": tiff(34665, 4, 1, b"\xff\xff\xff\x7f"),
    "TIFF, pointer to others negative": tiff(40965, 9, 1, b"\xdb\xff\xff\xff"),
    "TIFF, text of 4 GiB": tiff(270, 2, 2**32 - 1, b"\0\0\0\0"),
    "TIFF, unknown kind": tiff(65000, 17, 2, b"\1\2\3\4"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_metadata_leave_the_pixels_as_they_are(name: str) -> None:
    plain = PLAIN[name.partition(",")[0]]
    assert (decode(ODD[name], 8, name="x") == decode(plain, 8, name="x")).all()


@pytest.mark.parametrize("name", ODD)
def test_a_file_without_metadata_is_the_same_picture(name: str) -> None:
    plain = PLAIN[name.partition(",")[0]]
    assert (decode(without_metadata(ODD[name]), 8, name="x") == decode(plain, 8, name="x")).all()


@pytest.mark.parametrize("kind", PLAIN)
def test_the_turn_is_kept_where_the_rest_goes(kind: str) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    turned = encoded(PICTURE, kind, exif=tags)
    assert (decode(without_metadata(turned), 8, name="x") == decode(turned, 8, name="x")).all()
    assert (decode(turned, 8, name="x") != decode(PLAIN[kind], 8, name="x")).any()


def test_transparency_and_the_colours_of_adobe_are_kept() -> None:
    clear = Image.new("P", (8, 8))
    content = encoded(clear, transparency=0)
    assert (decode(without_metadata(content), 8, name="x") == 255).all()
    content = encoded(PICTURE.convert("CMYK"), "JPEG")
    assert (decode(without_metadata(content), 8, name="x") == decode(content, 8, name="x")).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "form"), [(1, "B3x"), (3, "H2x"), (4, "I"), (6, "b3x"), (8, "h2x"), (9, "i")])
def test_the_turn_is_understood_as_any_whole_number(order: str, kind: int, form: str) -> None:
    block = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IHHHI", 8, 1, 0x0112, kind, 1)
    content = jpeg(0xE1, b"Exif\0\0" + block + struct.pack(order + form, 6) + bytes(4))
    assert (decode(content, 8, name="x") == np.rot90(decode(JPEG, 8, name="x"), 3)).all()


@pytest.mark.parametrize("content", [b"", PNG[:20], JPEG[:3], TIFF[:6], b"II*\0\xff\xff\xff\x7f", b"BM"])
def test_what_is_cut_or_of_another_format_comes_back(content: bytes) -> None:
    assert without_metadata(content) in (content, PNG[:8])
