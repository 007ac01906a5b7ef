"""Spoilt archives and images: refused in a line, nothing written beside, no code run, no memory filled."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deepcompress.data import images, pickles
from deepcompress.data.archives import open_tree
from deepcompress.data.sources import _cifar, folder
from deepcompress.errors import UserError
from tests.data.inputs import encoded, image_files, make_cifar, make_tar, make_zip, pixels
from tests.faults.damage import Trap, below, fuzz, read_or_refused, spoilt

FILES = image_files(train=2, test=1)
KINDS = ("zip", "tar", "tar.gz")
NAMES = ("../x", "/x", "a/../../x", "..\\x", "C:\\x", "\0", "", ".", "..", "a\nb", "\u202ex", "a" * 5000,
         "a/" * 2000 + "x",
         "con", "~/x")  # fmt: skip
ATTACKS = (
    b"cos\nsystem\n(S'touch sprung'\ntR.",
    b'cbuiltins\neval\n(S\'open("sprung","w")\'\ntR.',
    b"cnumpy.testing\nrundocs\n.",
    b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x14open('sprung','w')\x85R.",
    b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
    b"cnumpy\nndarray\n(I1000000000\ntR.",
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I1000000000000\ntS'b'\ntR.",
    b"cnumpy\ndtype\n(S'O'\ntR.",
    b"(" * 100_000 + b".",
    b"\x80\x04\x95" + b"\xff" * 8,
    b"cnumpy\nload\n(S'sprung'\ntR.",
)


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

    said = read_or_refused(everything, naming=path.name)
    assert set(below(path.parents[1])) == {f"work/{path.name}"}
    return said


@pytest.mark.parametrize("kind", KINDS)
def test_the_untouched_archive_is_read(archives: dict[str, bytes], work: Path, kind: str) -> None:
    assert read(work / f"x.{kind}", archives[kind]) is None


@pytest.mark.parametrize("kind", KINDS)
@fuzz(50)
@given(data=st.data())
def test_spoilt_archives(archives: dict[str, bytes], work: Path, kind: str, data: st.DataObject) -> None:
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
    with pytest.raises(UserError, match=r"x\.tar: train/ant/0\.png is a sparse file"):
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


def test_a_png_whose_text_unpacks_to_much_is_refused_or_left_aside() -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20 << 20), 9))
    good = encoded(pixels(0, 8, 8, 3))
    spoilt_file = good[:33] + bomb + good[33:]
    assert read_or_refused(lambda: images.decode(spoilt_file, 8, name="x.png"))


@fuzz(60)
@given(data=st.data())
def test_spoilt_pickles(work: Path, data: st.DataObject) -> None:
    good = pickle.dumps({"data": pixels(0, 4, 3072), "fine_labels": [0, 1, 2, 3], "batch_label": b"x"}, protocol=2)
    content = data.draw(spoilt(good, within=300))
    with suppress(_cifar.UNREADABLE):
        pickles.load(io.BytesIO(content))
    assert not (work / "sprung").exists()


def test_a_pickle_of_plain_values_comes_back() -> None:
    good = {
        "data": pixels(0, 4, 3072),
        "labels": [0, 1],
        "names": ("a", "é"),
        "raw": b"\xff\0",
        "more": {1: None, 2: 1.5},
    }
    for protocol in range(5):
        written = pickle.dumps(good, protocol=protocol)
        for older in (
            written,
            written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray") if protocol < 4 else b"",
        ):
            found = pickles.load(io.BytesIO(older or written))
            assert (found.pop("data") == good["data"]).all()
            assert found == {name: value for name, value in good.items() if name != "data"}


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_an_attack_by_pickle_is_refused(work: Path, attack: bytes) -> None:
    with pytest.raises(_cifar.UNREADABLE):
        pickles.load(io.BytesIO(attack))
    assert list(work.iterdir()) == []


def official(classes: int) -> Any:
    """What torchvision says of the archive."""
    from torchvision.datasets import CIFAR10, CIFAR100

    return CIFAR10 if classes == 10 else CIFAR100


def load(work: Path, change: Callable[[dict[str, Any]], dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Load a CIFAR-100 whose files were changed, by a checksum that its maker gave."""
    members = {"train": {"data": pixels(1, 4, 3072), "fine_labels": [0, 1, 2, 3]}}
    members |= {"test": {"data": pixels(2, 4, 3072), "fine_labels": [0, 1, 2, 3]}}
    members |= {"meta": {"fine_label_names": ["a", "b", "c", "d"]}}
    changed = change(members)
    files = {f"cifar-100-python/{n}": v if isinstance(v, bytes) else pickle.dumps(v) for n, v in changed.items()}
    make_tar(work / "cifar-100-python.tar.gz", files)
    monkeypatch.setattr(_cifar, "_download", lambda *_: None)
    options, found = _cifar.Options(), SimpleNamespace()

    def everything() -> None:
        found.source = _cifar.load_cifar(official(100), options, name="cifar100", stored_size=32, workspace=work)
        found.source.train.read(0)

    said = read_or_refused(everything)
    assert [path.name for path in work.iterdir()] == ["cifar-100-python.tar.gz"]
    return said


def test_an_archive_with_its_makers_own_checksum_runs_no_code(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sprung = work.parent / "sprung"
    assert load(work, lambda members: members, monkeypatch) is None
    for name in ("train", "test", "meta"):
        said = load(work, lambda members, name=name: members | {name: Trap(sprung)}, monkeypatch)  # type: ignore[misc]
        assert said
        assert "is no cifar100 archive in the official layout (it names" in said
    assert not sprung.exists()


@pytest.mark.parametrize(
    "batch",
    [1, [], {}, {"data": 1, "fine_labels": []}, {"data": pixels(0, 4, 3072)},
     {"data": pixels(0, 4, 9), "fine_labels": [0]},
     {"data": np.ones((4, 3072)), "fine_labels": [0] * 4}, {"data": pixels(0, 4, 3072), "fine_labels": [0, 1, 2, 99]},
     {"data": pixels(0, 4, 3072), "fine_labels": "abcd"}, {"data": pixels(0, 4, 3072), "fine_labels": [[0]] * 4},
     {"data": pixels(0, 4, 3072), "fine_labels": [10**30] * 4}, {"data": pixels(0, 4, 3072), "labels": None}],
    ids=range(12),
)  # fmt: skip
def test_a_batch_of_another_kind_is_refused(work: Path, monkeypatch: pytest.MonkeyPatch, batch: Any) -> None:
    assert load(work, lambda members: members | {"train": batch}, monkeypatch)


@fuzz(30)
@given(data=st.data())
def test_spoilt_cifar_archives(work: Path, cifar: bytes, data: st.DataObject) -> None:
    path = work / "cifar-10-python.tar.gz"
    path.write_bytes(data.draw(spoilt(cifar)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cifar, "_download", lambda *_: None)
        read_or_refused(
            lambda: _cifar.load_cifar(official(10), _cifar.Options(), name="cifar10", stored_size=32, workspace=work)
        )
    assert [path.name for path in work.iterdir()] == ["cifar-10-python.tar.gz"]


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_cifar(tmp_path_factory.mktemp("cifar"), 10, per_class=1).read_bytes()


def test_a_zip_with_a_password_is_refused(work: Path) -> None:
    with zipfile.ZipFile(work / "made.zip", "w") as archive:
        archive.writestr("train/ant/0.png", b"x")
    content = bytearray((work / "made.zip").read_bytes())
    (work / "made.zip").unlink()
    content[6] |= 1  # the header beside the data alone says so
    assert read(work / "x.zip", bytes(content))
