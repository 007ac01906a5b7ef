"""Image files of any kind to square uint8 RGB arrays of one size."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import UInt8

MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
SIXTEEN_BIT_STEP = 257  # 65535 / 255


def decode(content: bytes, size: int, *, name: str) -> UInt8[np.ndarray, "size size 3"]:
    """Decode an image file, turn it upright (EXIF), make it RGB and square.

    Transparent pixels are laid on white, 16-bit grey is scaled to 8 bit, CMYK and palettes are converted;
    of an animation the first frame is taken.

    Args:
        content: The file's bytes.
        size: Side of the result, pixels.
        name: The file's name, for messages.

    Raises:
        UserError: If it is no image that can be read, or has more than MAX_PIXELS pixels.
    """
    try:
        with _open(content) as image:
            _refuse_bomb(image)
            image.draft(None, (2 * size, 2 * size))  # JPEG: decodes large photographs at 1/2, 1/4 or 1/8
            ImageOps.exif_transpose(image, in_place=True)
            return square(_rgb(image), size)
    except Exception as error:  # damaged bytes make Pillow's decoders raise almost anything
        raise UserError(f"{name}: no image that can be read ({error or type(error).__name__})") from error


def square(image: Image.Image, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Scale the shorter side to `size` (bilinear, antialiased) and cut out the centre square."""
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR)
    return np.asarray(image)


def _open(content: bytes) -> Image.Image:
    with _own_limit():
        try:
            return Image.open(io.BytesIO(content), formats=FORMATS)
        except UnidentifiedImageError:
            raise ValueError(f"must be one of {', '.join(FORMATS)}") from None


@contextmanager
def _own_limit() -> Iterator[None]:
    """Pillow's own limit is another number, and half a warning: `_refuse_bomb` decides before any pixel is decoded."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _refuse_bomb(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} px, at most {MAX_PIXELS} pixels are allowed")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I"):
        return _from_sixteen_bit(np.asarray(image))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    return image.convert("RGB")


def _from_sixteen_bit(grey: np.ndarray) -> Image.Image:
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError("grey values outside of 0..65535; save it with 8 or 16 bits")
    return Image.fromarray((grey // SIXTEEN_BIT_STEP).astype(np.uint8)).convert("RGB")
