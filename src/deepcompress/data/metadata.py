"""An image file without what tells neither its pixels nor how it is turned.

Pillow refuses a file for metadata that breaks a standard, or that is long: a colour profile over a megabyte, a density
of no bytes, a checksum beside the pixels. Viewers show such files, and people have them among a thousand good ones.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
JPEG, SCAN, COMMENT = b"\xff\xd8", 0xDA, 0xFE
APP0, APP1, APP14, APP15 = 0xE0, 0xE1, 0xEE, 0xEF
ADOBE_BYTES = 16  # with marker and length; says how colours are coded
TIFF = {b"II*\0": "<", b"MM\0*": ">"}
PIXEL_TAGS = {
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293),
    *(317, 320, 322, 323, 324, 325, 332, 338, 339, *range(512, 522), 347, *range(529, 533)),
}


def without_metadata(content: bytes) -> bytes:
    """The same picture as bytes of the same format; what came where it is of another format, or cut.

    Args:
        content: Of a file; PNG, JPEG and TIFF are known.
    """
    try:
        if content.startswith(PNG):
            return PNG + b"".join(_chunks(content))
        if content.startswith(JPEG):
            return JPEG + b"".join(_segments(content))
        return _with_few_tags(content, TIFF[content[:4]]) if content[:4] in TIFF else content
    except (struct.error, IndexError):
        return content


def _chunks(content: bytes) -> Iterator[bytes]:
    at = len(PNG)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        chunk = content[at : at + 12 + length]
        kind = chunk[4:8]
        if kind in PIXEL_CHUNKS or (kind == b"eXIf" and zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]):
            yield chunk
        at += 12 + length


def _segments(content: bytes) -> Iterator[bytes]:
    at = len(JPEG)
    while content[at + 1] != SCAN:
        marker, length = struct.unpack_from(">BH", content, at + 1)
        segment = content[at : at + 2 + length]
        turns = marker == APP1 and segment[4:8] == b"Exif"
        colours = marker == APP14 and len(segment) >= ADOBE_BYTES
        if turns or colours or not (APP0 <= marker <= APP15 or marker == COMMENT):
            yield segment
        at += 2 + length
    yield content[at:]


def _with_few_tags(content: bytes, order: str) -> bytes:
    """The first picture of a TIFF, its directory shortened where it lies, so that no offset changes."""
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    entries = [content[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]
    kept = [entry for entry in entries if struct.unpack_from(f"{order}H", entry)[0] in PIXEL_TAGS]
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return content[:start] + directory + content[start + len(directory) :]
