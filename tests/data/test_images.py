"""Image files of any kind become upright RGB squares."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from deepcompress.data.images import MAX_PIXELS, decode, largest_value, without_metadata
from deepcompress.errors import UserError
from tests.data.inputs import encoded, pixels

GREY = [90, 90, 90]


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (8, 8), colour)  # type: ignore[arg-type]


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
        (encoded(plain("P", 0), transparency=0), [255, 255, 255]),
        (encoded(np.full((8, 8), 90 * 257, dtype=np.uint16)), GREY),
        (encoded(np.full((8, 8), 90 * 257, dtype=np.uint16), "TIFF"), GREY),
        (encoded(np.full((8, 8), 90 * 257, dtype=np.int32), "TIFF"), GREY),
        (encoded(plain("CMYK", (0, 0, 0, 165)), "TIFF"), GREY),
        (encoded(plain("RGB", (1, 2, 3)), "BMP"), [1, 2, 3]),
        (encoded(plain("RGB", (1, 2, 3)), "WEBP", lossless=True), [1, 2, 3]),
        (encoded(plain("RGB", (1, 2, 3)), "PPM"), [1, 2, 3]),
        (encoded(plain("L", 90), "GIF", save_all=True, append_images=[plain("L", 200)]), GREY),
    ],
)
def test_every_mode_becomes_rgb(content: bytes, colour: list[int]) -> None:
    decoded = decode(content, 8, name="x")
    assert decoded.dtype == np.uint8
    assert (decoded == np.broadcast_to(colour, (8, 8, 3))).all()


def test_cmyk_jpeg_becomes_rgb() -> None:
    decoded = decode(encoded(plain("CMYK", (0, 0, 0, 165)), "JPEG"), 8, name="x")
    assert np.abs(decoded.astype(int) - 90).max() <= 2


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


RAMP = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)  # 12 bits


def tiff(grey: np.ndarray, *, bits: int, zero_is_white: bool = False) -> bytes:
    """Uncompressed grey of 8, 12 or 16 bits; Pillow writes no 12, and none that is turned over."""
    if bits == 12:
        pairs = grey.reshape(-1, 2).astype(np.uint32)
        whole = pairs[:, 0] << 12 | pairs[:, 1]
        data = b"".join(int(value).to_bytes(3, "big") for value in whole)
    else:
        data = grey.astype(f"<u{bits // 8}").tobytes()
    kind = 0 if zero_is_white else 1
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: kind, 273: 122, 277: 1, 278: 8, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + data


@pytest.mark.parametrize(
    ("content", "reached", "told"),
    [
        (encoded(RAMP), {65535: 15, 4095: 255}, 4095),
        (encoded(RAMP * 16), {65535: 254}, 65520),
        (encoded(RAMP, "TIFF"), {65535: 15, 4095: 255}, 4095),
        (encoded(RAMP.astype(np.int32), "TIFF"), {4095: 255}, 4095),
        (encoded(RAMP, "JPEG2000"), {4095: 255}, 4095),
        (tiff(RAMP, bits=12), {65535: 255, 4095: 255, 255: 255}, None),
        (b"P5 8 8 4095\n" + RAMP.astype(">u2").tobytes(), {65535: 255, 4095: 255}, None),
        (b"P5 8 8 1023\n" + (RAMP // 4).astype(">u2").tobytes(), {1023: 255}, None),
        (encoded((RAMP // 16).astype(np.uint8)), {4095: 255}, None),
        (b"", {}, None),
    ],
)
def test_grey_reaches_white_where_the_format_or_params_say_which_it_is_else_its_largest_value_is_told(
    content: bytes, reached: dict[int, int], told: int | None
) -> None:
    assert largest_value(content) == told
    for white, largest in reached.items():
        decoded = decode(content, 8, name="x", white=white)
        assert decoded.max() == largest
        assert len(np.unique(decoded)) > min(15, largest)


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_of_which_zero_is_white_is_turned_over(bits: int) -> None:
    grey = RAMP >> 4 if bits == 8 else RAMP << (bits - 12)
    there, back = (decode(tiff(grey, bits=bits, zero_is_white=turned), 8, name="x") for turned in (False, True))
    assert (there == 255 - back).all()


def chunk(kind: bytes, content: bytes, *, checksum: int = 0) -> bytes:
    check = zlib.crc32(kind + content) ^ checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "must be one of .*"),
        (encoded(pixels(0, 16, 16, 3))[:200], ".+"),
        (encoded(pixels(0, 64, 64, 3), "JPEG")[:600], "Truncated .*"),
        (encoded(pixels(0, 16, 16, 3)).replace(b"IDAT", b"IDAX"), ".+"),
        (encoded(np.zeros((4, 4), dtype=np.float32), "TIFF"), "floating-point pixels have no known range; .*"),
        (encoded(np.full((4, 4), 70_000, dtype=np.int32), "TIFF"), "grey values outside of 0..65535; .*"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "must be one of .*"),
        (b"Dear diary", "must be one of PNG, JPEG, .*JPEG2000"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is HEIC; must be one of PNG, .*"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "is HEIC; .*"),
        (b"\xff\x0a" + bytes(99), "is JPEG XL; .*"),
        (b"8BPS\0\1" + bytes(99), "is Photoshop's PSD; .*"),
        (b"%PDF-1.7\n", "is a PDF; .*"),
        (b"\0\0\1\0\1\0" + bytes(99), "is an icon; .*"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "is a film; .*"),
        (b"\n <!DOCTYPE html><html>", "is a web page; .*"),
        (b"<?xml version='1.0'?><svg/>", "is XML, such as an SVG; .*"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", r"is a pointer of Git LFS \(git lfs pull .*"),
        (encoded(pixels(0, 8, 8, 3)).replace(b"\r\n", b"\n"), "is a PNG that some transfer took for text; .*"),
        (encoded(pixels(0, 8, 8, 3), "AVIF")[:40], "is damaged, or of a kind .*"),
        (b"GIF89a\0\0\0\0\0\0\0;", "is damaged, or of a kind .*"),
    ],
)
def test_what_cannot_be_read_is_told_what_it_is_and_which_kinds_there_are(content: bytes, told: str) -> None:
    with pytest.raises(UserError, match=rf"^pets\.zip: train/a\.jpg: no image that can be read \({told}\)$"):
        decode(content, 8, name="pets.zip: train/a.jpg")


@pytest.mark.parametrize("side", [8_001, 9_900, 60_000])
def test_an_image_with_too_many_pixels_is_told_how_many_are_allowed(side: int) -> None:
    with pytest.raises(UserError, match=f"{side} x 8001 px, at most {MAX_PIXELS} pixels are allowed"):
        decode(png_that_claims(side, 8_001), 8, name="x")


# Odd metadata leave the pixels as they are, and what decides on these is not left out.

PICTURE = Image.fromarray(pixels(3, 8, 16, 3))
PNG, JPEG, TIFF = (encoded(PICTURE, kind) for kind in ("PNG", "JPEG", "TIFF"))
PLAIN = {"PNG": PNG, "JPEG": JPEG, "TIFF": TIFF}


def png(kind: bytes, content: bytes, *, checksum: int = 0) -> bytes:
    """With one more chunk behind the header."""
    return PNG[:33] + chunk(kind, content, checksum=checksum) + PNG[33:]


def jpeg(marker: int, content: bytes) -> bytes:
    """With one more segment at its start."""
    return JPEG[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + JPEG[2:]


def with_tag(tag: int, kind: int, count: int, value: bytes) -> bytes:
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
    "TIFF, XMP as a number": with_tag(700, 4, 1, b"\1\0\0\0"),
    "TIFF, Photoshop's as signed": with_tag(34377, 9, 1, b"\xff\xff\xff\xff"),
    "TIFF, pointer to EXIF beyond": with_tag(34665, 4, 1, b"\xff\xff\xff\x7f"),
    "TIFF, pointer to others negative": with_tag(40965, 9, 1, b"\xdb\xff\xff\xff"),
    "TIFF, text of 4 GiB": with_tag(270, 2, 2**32 - 1, b"\0\0\0\0"),
    "TIFF, unknown kind": with_tag(65000, 17, 2, b"\1\2\3\4"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_metadata_leave_the_pixels_as_they_are(name: str) -> None:
    plain = decode(PLAIN[name.partition(",")[0]], 8, name="x")
    for content in (ODD[name], without_metadata(ODD[name])):
        assert (decode(content, 8, name="x") == plain).all()


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
