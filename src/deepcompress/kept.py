"""Arrays, and other bytes, that a later run finds again in scratch; what is damaged counts as absent.

A file ends in a checksum of what is before it, so that a damaged one is recognised before it is read.
"""

from __future__ import annotations

import hashlib
import io
import logging
from typing import TYPE_CHECKING

import numpy as np

from deepcompress import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)
CHECKSUM_BYTES = 32


def arrays(path: Path, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What `make` gives: from `path` if an earlier call left it there whole, else made now and left there.

    Args:
        path: In a folder of `runtime.scratch`, which is named by all that the arrays depend on.
        make: Gives arrays of numbers or text, by name.
    """
    content = read(path)
    if content is not None:
        with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
            return dict(loaded)
    made, stream = dict(make()), io.BytesIO()  # np.savez to a file tells of a full disk without saying so
    np.savez(stream, allow_pickle=False, **made)
    write(path, stream.getvalue())
    return made


def content(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes that `make` gives, kept in the same way."""
    found = read(path)
    if found is None:
        write(path, made := make())
        return made
    return bytes(found)


def write(path: Path, content: bytes) -> None:
    """Leave bytes for `read`, whole or not at all."""
    files.write_bytes(path, content + hashlib.sha256(content).digest())


def read(path: Path) -> memoryview | None:
    """The bytes that `write` left; None if there are none, or if they are damaged."""
    if not path.is_file():
        return None
    whole = memoryview(path.read_bytes())
    content, checksum = whole[:-CHECKSUM_BYTES], whole[-CHECKSUM_BYTES:]
    if hashlib.sha256(content).digest() != checksum:
        log.warning("%s is damaged: what it held is computed again", path)
        return None
    return content
