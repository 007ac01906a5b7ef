"""Image files of any kind to square uint8 RGB arrays of one size.

Pillow refuses a file for metadata that breaks a standard, or that is long: a colour profile over a megabyte, a density
of no bytes, a checksum beside the pixels. Viewers show such files, and people have them among a thousand good ones: so
what Pillow refuses is tried again without all that tells neither its pixels nor how it is turned.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from deepcompress.data import archives
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import UInt8

MAX_PIXELS = 64_000_000
WHITE = 2**16 - 1  # the largest value of 16-bit grey
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "AVIF", "PPM", "JPEG2000")
ORIENTATION, BITS_PER_SAMPLE, PHOTOMETRIC = 0x0112, 258, 262  # tags of EXIF and TIFF
WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # types of EXIF's values as struct names them
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

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


def decode(content: bytes, size: int, *, name: str, white: int = WHITE) -> UInt8[np.ndarray, "size size 3"]:
    """Decode an image file, turn it upright (EXIF), make it RGB and square.

    Transparent pixels are laid on white, 16-bit grey is scaled to 8 bit, CMYK and palettes are converted;
    of an animation the first frame is taken. A UserError if it is no image that can be read, or has more than
    MAX_PIXELS pixels.

    Args:
        content: The file's bytes.
        size: Side of the result, pixels.
        name: For messages; its suffix tells a camera's raw file.
        white: The value of 16-bit grey that becomes 255, as larger ones do; cameras and scanners often fill 12 bits.
            A format that says itself which value is white (PPM, TIFF of 12 bits) is left to do so.
    """
    try:
        if archives.suffix(name) in archives.RAW:
            raise ValueError("a camera's raw file; export it as PNG or JPEG")
        return _decoded(content, size, white)
    except Exception as error:  # damaged bytes make Pillow's decoders raise almost anything
        with suppress(Exception):
            return _decoded(without_metadata(content), size, white)
        raise UserError(f"{name}: no image that can be read ({error or type(error).__name__})") from error


def _decoded(content: bytes, size: int, white: int) -> UInt8[np.ndarray, "size size 3"]:
    # Pillow warns of metadata that breaks a standard, but pixels are all that is read; errors stay.
    with warnings.catch_warnings(action="ignore"), _open(content) as image:
        image.draft(None, (2 * size, 2 * size))  # JPEG: decodes large photographs at 1/2, 1/4 or 1/8
        turn = TURNS.get(_orientation(image))
        if white != WHITE and not image.mode.startswith("I") and _is_sixteen_bit(image, content):
            raise ValueError("16-bit colour, where max_value holds for 16-bit grey alone; save it with 8 bits")
        upright = image if turn is None else image.transpose(turn)
        if image.mode.startswith("I"):
            # Zero is white in radiographs; Pillow turns these over where they have 8 bits, and no others.
            grey, zero_is_white = np.asarray(upright), _tag(image, PHOTOMETRIC) == 0
            return square(_from_sixteen_bit(grey, _own_white(image) or white, zero_is_white), size)
        return square(_rgb(upright), size)


def square(image: Image.Image, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Scale the shorter side to `size` (bilinear, antialiased) and cut out the centre square."""
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR)
    return np.asarray(image)


def largest_value(content: bytes) -> int | None:
    """The largest value of an image of 16 bits or more per channel, 0..65535.

    None: it has fewer, its format says which value is white, or it cannot be read.
    """
    try:
        with warnings.catch_warnings(action="ignore"), _open(content) as image:
            deep = image.mode.startswith("I")
            if _own_white(image) or not (deep or _is_sixteen_bit(image, content)):
                return None
            return int(np.asarray(image).max()) * (1 if deep else 257)  # Pillow has the upper bytes alone of colour
    except Exception:  # `decode` tells what is wrong
        return None


def _open(content: bytes) -> Image.Image:
    # Pillow's own limit is another number, and half a warning: ours decides before any pixel is decoded.
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        if foreign := archives.foreign(content):
            raise ValueError(f"is {foreign}; must be one of {', '.join(FORMATS)}") from None
        if archives.starts_as_image(content):
            raise ValueError("is damaged, or of a kind of its format that is not known") from None
        raise ValueError(f"must be one of {', '.join(FORMATS)}") from None
    finally:
        Image.MAX_IMAGE_PIXELS = before
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} px, at most {MAX_PIXELS} pixels are allowed")
    return image


def _orientation(image: Image.Image) -> int:
    """How the camera was held, 1..8, or 1 where nothing tells: nothing else of EXIF matters here.

    `ImageOps.exif_transpose` writes all other tags anew, and `getexif` stops at one that leads out of the block: both
    fail for tags that break the standard.
    """
    if image.format == "TIFF":  # Pillow turns these when it reads their pixels
        return 1
    try:
        block = image.info.get("exif")
        return _orientation_in(block.removeprefix(b"Exif\0\0")) if block else int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # as above
        return 1


def _orientation_in(block: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}[block[:2]]
    for entry in _first_directory(block, order)[1]:
        tag, kind = struct.unpack_from(f"{order}HH", entry)
        if tag == ORIENTATION:
            return int(struct.unpack_from(f"{order}{WHOLE_NUMBERS.get(kind, 'H')}", entry, 8)[0])
    return 1


def _first_directory(content: bytes, order: str) -> tuple[int, list[bytes]]:
    """Where the first directory of a TIFF or of EXIF starts, and its entries of 12 bytes, behind their number."""
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    return start, [content[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]


def _own_white(image: Image.Image) -> int | None:
    """The value that becomes white where the format itself says it: Pillow scales PPM, and leaves 12 bits of TIFF."""
    if image.format == "PPM":
        return WHITE
    return 2**12 - 1 if 12 in _tag(image, BITS_PER_SAMPLE, ()) else None


def _is_sixteen_bit(image: Image.Image, content: bytes) -> bool:
    """Whether a channel has 16 bits; Pillow says so of grey images alone, by their mode."""
    in_png = image.format == "PNG" and content[24] == 16  # the header of a PNG comes first, always
    return in_png or 16 in _tag(image, BITS_PER_SAMPLE, ())


def _tag(image: Image.Image, tag: int, default: Any = None) -> Any:
    """Of a TIFF; other formats have none."""
    return image.tag_v2.get(tag, default) if image.format == "TIFF" else default  # type: ignore[attr-defined]


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def _from_sixteen_bit(grey: np.ndarray, white: int, zero_is_white: bool) -> Image.Image:
    if grey.min() < 0 or grey.max() > WHITE:
        raise ValueError("grey values outside of 0..65535; save it with 8 or 16 bits")
    scaled = np.minimum(grey, white).astype(np.int64) * 255 // white
    return Image.fromarray((255 - scaled if zero_is_white else scaled).astype(np.uint8)).convert("RGB")


def without_metadata(content: bytes) -> bytes:
    """The same picture as a file of its format, PNG, JPEG or TIFF; the file itself where it is another, or cut."""
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
    start, entries = _first_directory(content, order)
    kept = [entry for entry in entries if struct.unpack_from(f"{order}H", entry)[0] in PIXEL_TAGS]
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return content[:start] + directory + content[start + len(directory) :]
