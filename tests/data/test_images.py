"""Image files of any kind become upright RGB squares."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from deepcompress.data.images import MAX_PIXELS, decode
from deepcompress.errors import UserError
from tests.data.inputs import encoded, pixels

GREY = [90, 90, 90]


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (8, 8), colour)  # type: ignore[arg-type]


def palette_with_transparent_first_entry() -> bytes:
    image = plain("P", 0)
    image.putpalette([10, 20, 30])
    return encoded(image, transparency=0)


def first_frame_of_animation() -> bytes:
    return encoded(plain("L", 90), "GIF", save_all=True, append_images=[plain("L", 200)])


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (encoded(plain("RGB", (1, 2, 3))), [1, 2, 3]),
        (encoded(plain("L", 90)), GREY),
        (encoded(plain("1", 1)), [255, 255, 255]),
        (encoded(plain("P", 0).convert("RGB").quantize(4)), [0, 0, 0]),
        (encoded(plain("RGBA", (90, 90, 90, 255))), GREY),
        (encoded(plain("RGBA", (10, 20, 30, 0))), [255, 255, 255]),
        (encoded(plain("RGBA", (55, 155, 255, 51))), [215, 235, 255]),
        (encoded(plain("LA", (90, 255))), GREY),
        (palette_with_transparent_first_entry(), [255, 255, 255]),
        (encoded(np.full((8, 8), 90 * 257, dtype=np.uint16)), GREY),
        (encoded(np.full((8, 8), 90 * 257, dtype=np.uint16), "TIFF"), GREY),
        (encoded(np.full((8, 8), 90 * 257, dtype=np.int32), "TIFF"), GREY),
        (encoded(plain("CMYK", (0, 0, 0, 165)), "TIFF"), GREY),
        (encoded(plain("RGB", (1, 2, 3)), "BMP"), [1, 2, 3]),
        (encoded(plain("RGB", (1, 2, 3)), "WEBP", lossless=True), [1, 2, 3]),
        (encoded(plain("RGB", (1, 2, 3)), "PPM"), [1, 2, 3]),
        (first_frame_of_animation(), GREY),
    ],
)
def test_every_mode_becomes_rgb(content: bytes, colour: list[int]) -> None:
    decoded = decode(content, 8, name="x")
    assert decoded.dtype == np.uint8
    assert (decoded == np.broadcast_to(colour, (8, 8, 3))).all()


def test_cmyk_jpeg_becomes_rgb() -> None:
    decoded = decode(encoded(plain("CMYK", (0, 0, 0, 165)), "JPEG"), 8, name="x")
    assert np.abs(decoded.astype(int) - 90).max() <= 2


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 1, 3), (40, 24, 3), (5, 300, 3)])
def test_every_shape_becomes_a_square(shape: tuple[int, ...]) -> None:
    assert decode(encoded(pixels(0, *shape)), 16, name="x").shape == (16, 16, 3)


def test_the_centre_is_cut_out() -> None:
    image = np.zeros((8, 24, 3), dtype=np.uint8)
    image[:, 8:16] = 200
    assert (decode(encoded(image), 8, name="x") == 200).all()
    assert (decode(encoded(image.transpose(1, 0, 2)), 8, name="x") == 200).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(kind: str, orientation: int) -> None:
    image = Image.fromarray(pixels(0, 8, 8, 3))
    tags = Image.Exif()
    tags[0x0112] = orientation
    content = encoded(image, kind, exif=tags, **({"lossless": True} if kind == "WEBP" else {}))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert (decode(content, 8, name="x") == np.asarray(expected)).all()


def test_a_large_jpeg_is_close_to_its_full_decoding() -> None:
    coarse = Image.fromarray(pixels(0, 6, 6, 3)).resize((600, 600), Image.Resampling.BICUBIC)
    content = encoded(coarse, "JPEG", quality=95)
    full = np.asarray(Image.open(io.BytesIO(content)).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(decode(content, 32, name="x").astype(int) - full).mean() < 2


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Dear diary",
        encoded(pixels(0, 16, 16, 3))[:200],
        encoded(pixels(0, 64, 64, 3), "JPEG")[:600],
        encoded(pixels(0, 16, 16, 3)).replace(b"IDAT", b"IDAX"),
        encoded(np.zeros((4, 4), dtype=np.float32), "TIFF"),
        encoded(np.full((4, 4), 70_000, dtype=np.int32), "TIFF"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
        png_that_claims(MAX_PIXELS // 8000 + 1, 8000),
        png_that_claims(12_000, 8_000),
        png_that_claims(60_000, 60_000),
    ],
    ids=["empty", "text", "cut", "cut-jpeg", "broken", "float", "32-bit", "eps", "bomb", "bigger", "biggest"],
)
def test_what_cannot_be_read_is_named(content: bytes) -> None:
    with pytest.raises(UserError, match=r"^pets\.zip: train/ant/0\.png: no image that can be read \(.+\)$"):
        decode(content, 8, name="pets.zip: train/ant/0.png")


def test_what_is_no_image_is_told_which_kinds_there_are() -> None:
    with pytest.raises(UserError, match=r"^x: no image that can be read \(must be one of PNG, JPEG, .*JPEG2000\)$"):
        decode(b"Dear diary", 8, name="x")


@pytest.mark.parametrize("side", [8_001, 9_900, 60_000])
def test_an_image_with_too_many_pixels_is_told_how_many_are_allowed(side: int) -> None:
    with pytest.raises(UserError, match=f"{side} x 8001 px, at most {MAX_PIXELS} pixels are allowed"):
        decode(png_that_claims(side, 8_001), 8, name="x")
