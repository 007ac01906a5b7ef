"""CIFAR through torchvision's own download code, from a server on this machine."""

import importlib
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepcompress.data.store import Source
from deepcompress.errors import UserError
from deepcompress.files import sha256
from tests.data.inputs import make_cifar, make_tar, md5, pixels, served
from tests.faults.damage import Trap

NAMES = ("cifar10", "cifar100")


class Mirror:
    """A folder that a server on this machine serves, and a workspace to download into."""

    def __init__(self, folder: Path, address: str, asked: list[str]) -> None:
        self.folder, self.address, self.asked, self.work = folder, address, asked, folder.with_name("work")

    def load(self, name: str, archive: Path, md5: str | None) -> Source:
        return load(name, self.work, url=f"{self.address}/{archive.name}", md5=md5)

    def gets(self) -> int:
        return len([path for path in self.asked if path.endswith(".tar.gz")])


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    (tmp_path / "mirror").mkdir()
    with served(tmp_path / "mirror") as (address, asked):
        yield Mirror(tmp_path / "mirror", address, asked)


def load(name: str, workspace: Path, **options: Any) -> Source:
    module = importlib.import_module(f"deepcompress.data.sources.{name}")
    workspace.mkdir(exist_ok=True)
    return module.load(module.Options(**options), stored_size=32, seed=0, workspace=workspace)


@pytest.mark.parametrize("name", NAMES)
def test_a_mirror_with_its_own_checksum_is_downloaded_once_and_read(mirror: Mirror, name: str) -> None:
    classes = int(name.removeprefix("cifar"))
    archive = make_cifar(mirror.folder, classes)
    source = mirror.load(name, archive, md5(archive))
    assert source.classes == tuple(f"class_{i}" for i in range(classes))
    batches = 5 if classes == 10 else 1
    assert len(source.train) == 2 * classes * batches
    assert source.test is not None
    assert source.test.labels.tolist() == list(range(classes)) * 2
    planes = pixels(1, 2 * classes, 3072)[3].reshape(3, 32, 32)
    assert (source.train.read(3) == planes.transpose(1, 2, 0)).all()
    address = f"{mirror.address}/{archive.name}"
    assert source.origin == {"source": name, "checksum": f"sha256:{sha256(archive)}", "address": address}
    downloads = mirror.gets()
    again = mirror.load(name, archive, md5(archive))
    assert mirror.gets() == downloads > 0
    assert (again.train.read(5) == source.train.read(5)).all()
    assert [path.name for path in mirror.work.iterdir()] == [archive.name]


def test_neither_half_an_archive_nor_batches_that_an_earlier_run_left_are_trusted(
    tmp_path: Path, mirror: Mirror
) -> None:
    archive = make_cifar(mirror.folder, 10)
    unpacked = mirror.work / "cifar-10-batches-py"
    unpacked.mkdir(parents=True)
    (mirror.work / archive.name).write_bytes(archive.read_bytes()[:1000])
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (unpacked / name).write_bytes(pickle.dumps(Trap(tmp_path / "harm")))
    assert len(mirror.load("cifar10", archive, md5(archive)).classes) == 10
    assert not (tmp_path / "harm").exists()


PARTS = ("train", "test", "meta")


@pytest.mark.parametrize("name", NAMES)
def test_a_mirror_without_a_checksum_must_serve_the_official_archive_and_nothing_is_unpickled_before(
    tmp_path: Path, mirror: Mirror, name: str
) -> None:
    harmful = pickle.dumps(Trap(tmp_path / "harm"))
    archive = make_tar(mirror.folder / "x.tar.gz", {f"cifar-100-python/{part}": harmful for part in PARTS})
    official = {"cifar10": "c58f30108f718f92721af3b95e74349a", "cifar100": "eb9058c3a382ffc7106e4002c42a8d85"}
    with pytest.raises(UserError) as caught:
        mirror.load(name, archive, None)
    url = f"{mirror.address}/{archive.name}"
    assert str(caught.value) == f"{url}: wrong checksum, md5 must be {official[name]}, got {md5(archive)}"
    assert list(mirror.work.iterdir()) == []
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "files",
    [
        {"readme.txt": b"hello"},
        {f"cifar-100-python/{name}": b"no pickle" for name in PARTS},
        {f"cifar-100-python/{name}": pickle.dumps({}) for name in PARTS},
        {f"../cifar-100-python/{name}": pickle.dumps({}) for name in PARTS},
    ],
    ids=["other", "no pickle", "no keys", "escaping"],
)
def test_an_archive_of_another_layout_is_refused(tmp_path: Path, mirror: Mirror, files: dict[str, bytes]) -> None:
    archive = make_tar(mirror.folder / "x.tar.gz", files)
    message = rf"{mirror.address}/x\.tar\.gz: is no cifar100 archive in the official layout"
    with pytest.raises(UserError, match=message):
        mirror.load("cifar100", archive, md5(archive))
    assert not (tmp_path / "cifar-100-python").exists()


GOOD = {"data": pixels(1, 4, 3072), "fine_labels": [0, 1, 2, 3]}
OTHER_KINDS: list[Any] = [
    1, [], {}, {"data": 1, "fine_labels": []}, {"data": GOOD["data"]}, {**GOOD, "data": pixels(0, 4, 9)},
    {**GOOD, "data": np.ones((4, 3072))}, {**GOOD, "fine_labels": [0, 1, 2, 99]}, {**GOOD, "fine_labels": "abcd"},
    {**GOOD, "fine_labels": [[0]] * 4}, {**GOOD, "fine_labels": [10**30] * 4}, {"data": GOOD["data"], "labels": None},
]  # fmt: skip


@pytest.mark.parametrize("batch", [GOOD, *OTHER_KINDS], ids=range(13))
def test_a_batch_of_another_kind_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: Any) -> None:
    members = {"train": batch, "test": GOOD, "meta": {"fine_label_names": ["a", "b", "c", "d"]}}
    files = {f"cifar-100-python/{name}": pickle.dumps(value) for name, value in members.items()}
    make_tar(tmp_path / "cifar-100-python.tar.gz", files)
    monkeypatch.setattr("deepcompress.data.sources.cifar100._download", lambda *_: None)
    if batch is GOOD:
        assert len(load("cifar100", tmp_path).train) == 4
        return
    with pytest.raises(UserError, match="is no cifar100 archive in the official layout"):
        load("cifar100", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-100-python.tar.gz"]


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_network_is_one_line_with_the_address(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{closed_port()}/cifar-100-python.tar.gz"
    with pytest.raises(UserError, match=f"^{url}: cannot be downloaded .*refused.*data.cifar100.url may name a mirror"):
        load("cifar100", tmp_path / "work", url=url)
    assert list((tmp_path / "work").iterdir()) == []


def test_a_missing_file_on_the_server_is_one_line_with_the_address(mirror: Mirror) -> None:
    with pytest.raises(UserError, match=rf"{mirror.address}/no\.tar\.gz: cannot be downloaded .*404"):
        mirror.load("cifar100", Path("no.tar.gz"), None)


def test_without_a_url_the_official_address_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(UserError, match=r"^https://www\.cs\.toronto\.edu/~kriz/cifar-10-python\.tar\.gz: cannot"):
        load("cifar10", tmp_path / "work")


def test_a_server_that_never_answers_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepcompress.data.sources.cifar100.TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.tar.gz"
        with pytest.raises(UserError, match=f"{url}: cannot be downloaded .*timed out"):
            load("cifar10", tmp_path / "work", url=url)
    assert socket.getdefaulttimeout() is None
