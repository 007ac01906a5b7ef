"""Small inputs that the data tests make: image files, folders and archives of them, a CIFAR, a server."""

import gzip
import hashlib
import io
import pickle
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepcompress.data.store import Meta, Part, Source, write_fit, write_heldout

CLASSES = ("ant", "bee", "cat")


def pixels(number: int, *shape: int) -> np.ndarray:
    """Random uint8 values, always the same for the same number."""
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def source(*, train: int = 12, test: int | None = 6, size: int = 8) -> Source:
    """A source in memory with three classes in turn."""

    def part(count: int, number: int) -> Part:
        images = pixels(number, count, size, size, 3)
        return Part(np.arange(count, dtype=np.int64) % 3, lambda index: images[index])

    held_out = None if test is None else part(test, 1)
    return Source(CLASSES, part(train, 0), held_out, {"source": "memory", "checksum": "sha256:0"})


def write(folder: Path, source: Source, *, validation_fraction: float = 0.25, seed: int = 0) -> Meta:
    """Both folders of a source, as the stage `download` writes them: fit and heldout."""
    meta = write_fit(folder / "fit", source, validation_fraction=validation_fraction, seed=seed)
    write_heldout(folder / "heldout", source, meta=meta)
    return meta


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """An image as the bytes of a file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def image_files(*, train: int = 4, test: int = 2, size: int = 8) -> dict[str, bytes]:
    """Path -> content of train/<class>/* and test/<class>/*, every image another one."""
    files = {}
    for part, count in (("train", train), ("test", test)):
        for name in CLASSES:
            for index in range(count):
                files[f"{part}/{name}/{index}.png"] = encoded(pixels(len(files), size, size, 3))
    return files


def make_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files below a directory; a name that ends with / is an empty folder."""
    for name, content in files.items():
        if name.endswith("/"):
            (path / name).mkdir(parents=True, exist_ok=True)
            continue
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def make_table(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files below a directory, and images.csv there: path, label and split of each."""
    make_folder(path, files)
    rows = [f"{name},{name.split('/')[1]},{name.split('/')[0]}" for name in files]
    (path / "images.csv").write_text("\n".join(["path,label,split", *rows]), encoding="utf-8")
    return path / "images.csv"


def make_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files into a .zip, in the order given; the same bytes at every run."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files into a .tar or .tar.gz, in the order given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    content = buffer.getvalue()
    path.write_bytes(content if path.suffix == ".tar" else gzip.compress(content, mtime=0))
    return path


def packed(folder: Path, kind: str, files: Mapping[str, bytes]) -> Path:
    """The files as `x`, a folder, or in an archive `x.zip`, `x.tar` or the like."""
    if kind == "folder":
        return make_folder(folder / "x", files)
    return make_zip(folder / "x.zip", files) if kind == "zip" else make_tar(folder / f"x.{kind}", files)


def sizes(source: Source) -> tuple[int, int, int]:
    """Images to train on, to choose on and to test on."""
    train, validation, test = (
        0 if part is None else len(part) for part in (source.train, source.validation, source.test)
    )
    return train, validation, test


def make_cifar(folder: Path, classes: int, *, per_class: int = 2) -> Path:
    """A CIFAR archive in the official layout and under its official name, with a few images."""
    labels = list(range(classes)) * per_class

    def batch(number: int, key: str) -> dict[str, Any]:
        return {"data": pixels(number, len(labels), 3072), key: labels}

    names = [f"class_{label}" for label in range(classes)]
    if classes == 10:
        members = {f"data_batch_{i}": batch(i, "labels") for i in range(1, 6)}
        members |= {"test_batch": batch(9, "labels"), "batches.meta": {"label_names": names}}
        top, file = "cifar-10-batches-py", "cifar-10-python.tar.gz"
    else:
        members = {"train": batch(1, "fine_labels"), "test": batch(9, "fine_labels")}
        members |= {"meta": {"fine_label_names": names}}
        top, file = "cifar-100-python", "cifar-100-python.tar.gz"
    return make_tar(folder / file, {f"{top}/{name}": pickle.dumps(value) for name, value in members.items()})


def md5(path: Path) -> str:
    """Checksum as torchvision checks it."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder on this machine; yields (address, list of the paths that were asked for)."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()
