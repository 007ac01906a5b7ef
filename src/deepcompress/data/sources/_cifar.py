"""What CIFAR-10 and CIFAR-100 share: torchvision downloads, verifies and reads the official archive.

torchvision unpickles the batches, so nothing is unpacked before the archive's checksum is right, and what an
earlier run unpacked is never trusted: each load unpacks the verified archive anew. With the md5 of a mirror's
own archive the official checksums of the files within do not apply; the archive's checksum vouches for them.
"""

from __future__ import annotations

import http.client
import pickle
import shutil
import socket
import tarfile
import urllib.error
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydantic import Field

from deepcompress.data.images import square
from deepcompress.data.store import Part, Source
from deepcompress.errors import UserError
from deepcompress.files import sha256
from deepcompress.params import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 30
NETWORK = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, RecursionError)
UNREADABLE = (
    tarfile.TarError,
    pickle.UnpicklingError,
    EOFError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
)


class Options(Section):
    """The `data.cifar10` and `data.cifar100` blocks.

    Attributes:
        url: Address of the archive; None is the official one.
        md5: Checksum of the archive, 32 hexadecimal digits; None is the official one.
    """

    url: str | None = Field(default=None, pattern="^https?://")
    md5: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")


def load_cifar(official: Any, options: Options, *, name: str, stored_size: int, workspace: Path) -> Source:
    """Download (once per workspace), verify and read a CIFAR data set.

    Args:
        official: torchvision's dataset class.
        options: Mirror and checksum.
        name: Of the source.
        stored_size: Side of the images, pixels; they are scaled from 32.
        workspace: Keeps the archive.

    Raises:
        UserError: If the address cannot be reached, the checksum is wrong or the archive is no CIFAR.
    """
    dataset = _with_options(official, options)
    archive = workspace / dataset.filename
    _download(dataset, archive, name)
    unpacked = workspace / dataset.base_folder
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        train, test = (dataset(workspace, train=train, download=True) for train in (True, False))
        parts = [_part(split, stored_size) for split in (train, test)]
    except UNREADABLE as error:
        raise UserError(f"{dataset.url}: is no {name} archive in the official layout ({error})") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    origin = {"source": name, "checksum": f"sha256:{sha256(archive)}", "address": dataset.url}
    return Source(tuple(train.classes), parts[0], parts[1], origin)


def _with_options(official: Any, options: Options) -> Any:
    changes: dict[str, Any] = {"url": options.url or official.url}
    if options.md5 not in (None, official.tgz_md5):
        changes["tgz_md5"] = options.md5
        changes["train_list"] = [[file, None] for file, _ in official.train_list]
        changes["test_list"] = [[file, None] for file, _ in official.test_list]
        changes["meta"] = {**official.meta, "md5": None}
    return type(official.__name__, (official,), changes)


def _download(dataset: Any, archive: Path, name: str) -> None:
    from torchvision.datasets.utils import calculate_md5, download_url

    try:
        with _timeout(TIMEOUT_S):
            download_url(dataset.url, archive.parent, dataset.filename, dataset.tgz_md5)
    except NETWORK as error:
        archive.unlink(missing_ok=True)
        raise _unreachable(dataset.url, name, error) from error
    except RuntimeError as error:
        if not archive.exists():
            raise _unreachable(dataset.url, name, error) from error
        found = calculate_md5(archive)
        archive.unlink()
        raise UserError(f"{dataset.url}: wrong checksum, md5 must be {dataset.tgz_md5}, got {found}") from error


def _unreachable(url: str, name: str, error: Exception) -> UserError:
    return UserError(f"{url}: cannot be downloaded ({error}); params.yaml: data.{name}.url may name a mirror")


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _part(split: Any, stored_size: int) -> Part:
    images = split.data
    labels = np.asarray(split.targets, dtype=np.int64)
    if len(images) != len(labels) or not np.isin(labels, np.arange(len(split.classes))).all():
        raise ValueError("images, labels and classes disagree")
    return Part(labels=labels, read=lambda index: square(Image.fromarray(images[index]), stored_size))
