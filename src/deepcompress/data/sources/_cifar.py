"""What CIFAR-10 and CIFAR-100 share: torchvision downloads and verifies the official archive, we read it in place.

Its batches are pickles, which torchvision would run: nothing is read before the archive's checksum is right, and
then only what pickles.py allows, since params.yaml may name a mirror with a checksum of its own. Nothing is unpacked.
"""

from __future__ import annotations

import http.client
import pickle
import socket
import tarfile
import urllib.error
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydantic import Field

from deepcompress.data import pickles
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
    zlib.error,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
)
MAX_BATCH_BYTES = 1 << 30  # CIFAR-100's training images take 155 MB


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
    try:
        found = _batches(archive, dataset)
        classes = tuple(map(_text, found[dataset.meta["filename"]][dataset.meta["key"]]))
        splits = (dataset.train_list, dataset.test_list)
        train, test = (_part([found[file] for file, _ in files], len(classes), stored_size) for files in splits)
    except UNREADABLE as error:
        raise _no_cifar(dataset.url, name, error) from error
    except OSError as error:
        if error.errno is not None:  # the disk's; what gzip says of damaged bytes has no number
            raise
        raise _no_cifar(dataset.url, name, error) from error
    origin = {"source": name, "checksum": f"sha256:{sha256(archive)}", "address": dataset.url}
    return Source(classes, train, test, origin)


def _with_options(official: Any, options: Options) -> Any:
    changes = {"url": options.url or official.url, "tgz_md5": options.md5 or official.tgz_md5}
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


def _batches(archive: Path, dataset: Any) -> dict[str, Any]:
    """What the files of the official layout hold, by name."""
    names = [*(file for file, _ in (*dataset.train_list, *dataset.test_list)), dataset.meta["filename"]]
    wanted = {f"{dataset.base_folder}/{name}": name for name in names}
    found: dict[str, Any] = {}
    with tarfile.open(archive, "r:gz") as packed:
        for member in packed:
            if member.name not in wanted:
                continue
            stream = packed.extractfile(member) if member.isreg() and not member.issparse() else None
            if stream is None or member.size > MAX_BATCH_BYTES:
                raise ValueError(f"{member.name} is no plain file of at most {MAX_BATCH_BYTES} bytes")
            found[wanted[member.name]] = pickles.load(stream)
    return found


def _part(batches: list[Any], classes: int, stored_size: int) -> Part:
    for batch in batches:
        if not isinstance(batch["data"], np.ndarray) or batch["data"].dtype != np.uint8:
            raise ValueError("images must be an array of uint8")
    planes = np.vstack([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    named = [label for batch in batches for label in batch["labels" if "labels" in batch else "fine_labels"]]
    labels = np.asarray(named, dtype=np.int64)
    if labels.shape != (len(images),) or not np.isin(labels, np.arange(classes)).all():
        raise ValueError("images, labels and classes disagree")
    return Part(labels=labels, read=lambda index: square(Image.fromarray(images[index]), stored_size))


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(f"a class must have a name, got {name!r:.100}")
    return name


def _no_cifar(url: str, name: str, error: Exception) -> UserError:
    return UserError(f"{url}: is no {name} archive in the official layout ({error or type(error).__name__})")
