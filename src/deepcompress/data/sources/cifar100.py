"""CIFAR-100, 60,000 photographs of 32 x 32 pixels in 100 classes, and how either CIFAR is read.

torchvision downloads, verifies and reads the official archive.

Its batches are pickles, which may run code: nothing is unpacked or read before the archive's checksum is right. Who
names a mirror with a checksum of its own in params.yaml vouches for what lies there.
Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import http.client
import socket
import tarfile
import tempfile
import urllib.error
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from deepcompress.data.images import square
from deepcompress.data.store import Part, Source
from deepcompress.errors import UserError
from deepcompress.files import sha256
from deepcompress.params import Section

TIMEOUT_S = 30
NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, RecursionError)


class Options(Section):
    """The `data.cifar10` and `data.cifar100` blocks."""

    url: str | None = Field(default=None, pattern="^https?://")  # address of the archive; None is the official one
    # Checksum of the archive, 32 hexadecimal digits; None is the official one. Another one than that is a promise that
    # the archive may be trusted: reading it can run code that lies in it.
    md5: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")


def load_cifar(options: Options, *, stored_size: int, seed: int, workspace: Path, name: str, dataset: str) -> Source:
    """Download (once per workspace), verify and read a CIFAR data set; its images are scaled from 32 px.

    A UserError if the address cannot be reached, the checksum is wrong or the archive is no CIFAR.
    """
    import torchvision.datasets

    official: Any = getattr(torchvision.datasets, dataset)
    url, md5 = options.url or official.url, options.md5 or official.tgz_md5
    archive = workspace / official.filename
    _download(url, archive, md5, name)
    try:
        train, test = _unpacked(official, archive)
        train_part, test_part = _part(train, stored_size), _part(test, stored_size)
    except Exception as error:  # other bytes than pickles of CIFAR's kind make Python and numpy raise almost anything
        if isinstance(error, OSError) and error.errno is not None:  # the disk's
            raise
        reason = f"is no {name} archive in the official layout ({error or type(error).__name__})"
        raise UserError(f"{url}: {reason}") from error
    origin = {"source": name, "checksum": f"sha256:{sha256(archive)}", "address": url}
    return Source(tuple(train.classes), train_part, test_part, origin)


load = partial(load_cifar, name="cifar100", dataset="CIFAR100")


def _download(url: str, archive: Path, md5: str, name: str) -> None:
    from torchvision.datasets.utils import calculate_md5, download_url

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        download_url(url, archive.parent, archive.name, md5)
    except NETWORK as error:
        archive.unlink(missing_ok=True)
        raise _unreachable(url, name, error) from error
    except RuntimeError as error:
        if not archive.exists():
            raise _unreachable(url, name, error) from error
        actual = calculate_md5(archive)
        archive.unlink()
        raise UserError(f"{url}: wrong checksum, md5 must be {md5}, got {actual}") from error
    finally:
        socket.setdefaulttimeout(before)


def _unreachable(url: str, name: str, error: Exception) -> UserError:
    return UserError(f"{url}: cannot be downloaded ({error}); params.yaml: data.{name}.url may name a mirror")


def _unpacked(official: Any, archive: Path) -> list[Any]:
    """torchvision's training and test data, both in memory; no file stays that a later run would have to trust."""
    changes = {  # the archive's checksum is right, and those of its files are known for the official one only
        "train_list": [(file, None) for file, _ in official.train_list],
        "test_list": [(file, None) for file, _ in official.test_list],
        "meta": {**official.meta, "md5": None},
    }
    dataset = type(official.__name__, (official,), changes)
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        with tarfile.open(archive, "r:gz") as packed:
            # As an argument, Python has the filter from 3.11.4 on alone; before, the checksum must do.
            packed.extraction_filter = getattr(tarfile, "data_filter", None)
            packed.extractall(folder)
        return [dataset(folder, train=train) for train in (True, False)]


def _part(dataset: Any, stored_size: int) -> Part:
    images, labels = dataset.data, np.asarray(dataset.targets, dtype=np.int64)
    known = np.isin(labels, np.arange(len(dataset.classes))).all()
    if images.dtype != np.uint8 or labels.shape != (len(images),) or not known:
        raise ValueError("images, labels and classes disagree")
    return Part(labels=labels, read=lambda index: square(Image.fromarray(images[index]), stored_size))
