"""Odd and spoilt folders, archives, tables and images: read, or refused in one line, with nothing written beside."""

import os
import struct
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deepcompress.__main__ import main
from deepcompress.data import images
from deepcompress.data.archives import counts
from deepcompress.data.sources import csv, folder
from tests.data.inputs import encoded, image_files, make_folder, make_table, make_zip, packed, pixels, write
from tests.faults.damage import below, fuzz, read_or_refused, spoilt
from tests.house import ROOT

FILES = image_files(train=3, test=1)
IMAGE = encoded(pixels(99, 8, 8, 3))
PARTS = (
    "train", "Train", "TRAINING", "val", "Valid", "validation", "test", "Testing", "trainset", "ant", "bee", "cat",
    "Ant", "e\u0301", "\u00e9", "@eaDir", "Thumbs.db", "Desktop.ini", "Icon\r", ".hidden", "__MACOSX", "a b", "a\nb",
    "$x_2$", "..", "con", "\u202e", "x" * 200, "~", "*", "%", "a\\b", "metadata.csv", "0.png", "0.png~", "1.JPG",
    "x.txt", "y.heic",
)  # fmt: skip
CONTENTS = (b"", b"x", IMAGE, IMAGE[:90], encoded(pixels(98, 9, 9, 3), "JPEG"), b"\0\5\x16\7",
            b"path,label\n0.png,ant\n")  # fmt: skip
PATHS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map("/".join)
TREES = st.dictionaries(PATHS, st.sampled_from(CONTENTS), max_size=12)
OPTIONS = st.fixed_dictionaries(
    {
        "on_bad_image": st.sampled_from(["stop", "skip"]),
        "on_duplicate": st.sampled_from(["stop", "drop"]),
        "max_value": st.sampled_from([None, 1, 4095]),
        "names_encoding": st.sampled_from([None, "cp932", "ascii", "utf-8"]),
    }
)


def read(path: Path, options: dict[str, object]) -> str | None:
    """What the download stage does with an archive or folder."""
    made = folder.Options.model_validate({"path": str(path), **options})
    return read_or_refused(
        lambda: write(path.parent, folder.load(made, stored_size=8, seed=0, workspace=path.parent)), naming=path.name
    )


@pytest.mark.parametrize("base", [{}, FILES], ids=["alone", "among good ones"])
@fuzz(70)
@given(tree=TREES, options=OPTIONS)
def test_any_tree_of_names(
    tmp_path: Path, base: dict[str, bytes], tree: dict[str, bytes], options: dict[str, object]
) -> None:
    read(make_zip(tmp_path / "x.zip", base | tree), options)


@pytest.mark.skipif(sys.platform != "linux", reason="only there are names of files any bytes")
@fuzz(60)
@given(raw=st.binary(min_size=1, max_size=12), options=OPTIONS, where=st.sampled_from(["train", "train/ant", "."]))
def test_any_bytes_as_the_name_of_a_file_or_folder(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, options: dict[str, object], where: str
) -> None:
    top = tmp_path_factory.mktemp("any") / "pets"
    make_folder(top, FILES)
    name = raw.replace(b"/", b"_").replace(b"\0", b"_").strip(b".") or b"_"
    place = os.path.join(os.fsencode(top / where), name)
    if not os.path.exists(place):
        os.mkdir(place)
        for number in range(3):
            with open(os.path.join(place, b"%d.png" % number), "wb") as file:
                file.write(encoded(pixels(200 + number, 8, 8, 3)))
    read(top, options)


@fuzz(60)
@given(raw=st.binary(min_size=3, max_size=3), options=OPTIONS)
def test_any_bytes_as_a_name_in_a_zip(tmp_path: Path, raw: bytes, options: dict[str, object]) -> None:
    content = make_zip(tmp_path / "x.zip", FILES).read_bytes()
    (tmp_path / "x.zip").write_bytes(content.replace(b"/bee/", b"/" + raw + b"/"))
    read(tmp_path / "x.zip", options)


@fuzz(80)
@given(data=st.data())
def test_a_spoilt_table(tmp_path: Path, data: st.DataObject) -> None:
    path = make_table(tmp_path / "t", FILES)
    path.write_bytes(data.draw(spoilt(path.read_bytes())))

    def everything() -> None:
        options = csv.Options(path=str(path))
        csv.inputs(options)
        write(tmp_path, csv.load(options, stored_size=8, seed=0, workspace=tmp_path))

    read_or_refused(everything)


@fuzz(60)
@given(text=st.text(max_size=60))
def test_any_text_as_a_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_bytes(b"path,label,split\n" + text.encode("utf-8", "surrogatepass"))
    options = csv.Options(path=str(tmp_path / "t.csv"))
    assert read_or_refused(lambda: csv.load(options, stored_size=8, seed=0, workspace=tmp_path))


@fuzz(80)
@given(
    content=st.binary(max_size=200),
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"BM", b"P5 9 9 255\n"]),
)
def test_any_bytes_as_an_image(content: bytes, start: bytes) -> None:
    counts("x", start + content)
    images.largest_value(start + content)
    read_or_refused(lambda: images.decode(start + content, 8, name="x.png", white=4095), naming="x.png")


@fuzz(40)
@given(tag=st.integers(0, 65535), kind=st.integers(0, 20), count=st.integers(0, 2**32 - 1), value=st.binary(max_size=8))
def test_any_exif_tag_beside_the_orientation_changes_nothing(tag: int, kind: int, count: int, value: bytes) -> None:
    plain = encoded(pixels(3, 8, 8, 3), "JPEG")
    turn = (0x0112, struct.pack("<HHI4s", 0x0112, 3, 1, b"\6\0\0\0"))
    other = (tag, struct.pack("<HHI4s", tag, kind, count, value[:4].ljust(4, b"\0")))
    entries = [turn, *([other] if tag != 0x0112 else [])]

    def turned(entries: list[tuple[int, bytes]]) -> bytes:
        block = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(e for _, e in sorted(entries)) + bytes(4)
        exif = b"Exif\0\0" + block + value
        return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]

    expected = images.decode(turned([turn]), 8, name="x")
    assert (images.decode(turned(entries), 8, name="x") == expected).all()


@fuzz(60)
@given(
    key=st.sampled_from(["seed", "data.folder.path", "model.arch", "finetune.epochs", "x"]), text=st.text(max_size=20)
)
def test_any_value_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    done = CliRunner().invoke(main, ["set", key, text])
    assert done.exit_code in (0, 2), done.exception
    assert done.exit_code == 0 or done.stderr.count("\n") <= 4


KINDS = ("zip", "tar", "tar.gz")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("archives")
    return {kind: packed(place, kind, FILES).read_bytes() for kind in KINDS}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, in a folder where nothing may appear beside it."""
    place = tmp_path / "canary" / "work"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    return place


def read_archive(path: Path, content: bytes) -> str | None:
    """Open an archive as the data source does, and read every image."""
    path.write_bytes(content)

    def everything() -> None:
        source = folder.load(folder.Options(path=str(path)), stored_size=8, seed=0, workspace=path.parent)
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
    assert read_archive(work / f"x.{kind}", archives[kind]) is None
    read_archive(work / f"x.{kind}", data.draw(spoilt(archives[kind])))


@fuzz(40)
@given(data=st.data())
def test_the_lists_of_a_zip(archives: dict[str, bytes], work: Path, data: st.DataObject) -> None:
    """Faults where a zip says what it holds: its end and its directory, a tenth of the file."""
    content = archives["zip"]
    start = content.index(b"PK\x01\x02")
    read_archive(work / "x.zip", content[:start] + data.draw(spoilt(content[start:])))


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
    read_archive(work / "x.tar", bytes(content))


COLOUR, GREY = Image.fromarray(pixels(0, 16, 16, 3)), Image.fromarray(pixels(1, 16, 16))
MORE = [Image.fromarray(pixels(number, 16, 16)) for number in range(3)]
PICTURES = [
    *(encoded(COLOUR, kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000")),
    *(encoded(GREY, kind, save_all=True, append_images=MORE) for kind in ("GIF", "PNG")),
    encoded(GREY.convert("LA")), encoded(COLOUR.quantize(9)), encoded(COLOUR, "TIFF", compression="tiff_lzw"),
]  # fmt: skip


@fuzz(150)
@given(data=st.data())
def test_spoilt_images(data: st.DataObject) -> None:
    content = data.draw(spoilt(data.draw(st.sampled_from(PICTURES))))
    read_or_refused(lambda: images.decode(content, 8, name="x.png"), naming="x.png")
