"""Arrays that a later run finds again in scratch; what is damaged counts as absent, and is made anew."""

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
    kept = _read(path)
    if kept is not None:
        return kept
    made, stream = dict(make()), io.BytesIO()  # np.savez to a file tells of a full disk without saying so
    np.savez(stream, allow_pickle=False, **made)
    content = stream.getvalue()
    files.write_bytes(path, content + hashlib.sha256(content).digest())
    return made


def _read(path: Path) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    content, checksum = (whole := path.read_bytes())[:-CHECKSUM_BYTES], whole[-CHECKSUM_BYTES:]
    if hashlib.sha256(content).digest() != checksum:
        log.warning("%s is damaged: it is made again", path)
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
        return dict(loaded)
