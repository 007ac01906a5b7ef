"""Arrays that no memory shall hold, written piece by piece into nameless files and read back row by row.

Such a file goes with its last reader or with the process, however that ends. It is written by plain writes: a full
disk is an error that can be told, while a store into a mapped page would kill the process.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress.data.row_file import Readable, RowFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class Spill:
    """An array that grows.

    Args:
        name: What messages call the file.
        folder: On the disk that takes it; is made if missing.
    """

    def __init__(self, name: Path | str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stream: Any = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (it is read later)
        self._file, self._count, self._piece = Readable(self._stream, name), 0, np.empty(0)

    def add(self, piece: np.ndarray) -> None:
        """Append rows, of the type and shape of those before.

        Raises:
            OSError: If the disk refuses, such as when it is full; names the file.
        """
        left = np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data
        try:
            while left:
                left = left[self._stream.write(left) :]
        except OSError as error:
            error.filename = self._file.name
            raise
        self._count, self._piece = self._count + len(piece), piece[:0]

    def rows(self) -> RowFile:
        """What was added, to be read and not to be made an array."""
        shape = (self._count, *self._piece.shape[1:])
        return RowFile(self._file, shape, self._piece.dtype, offset=0, budget_bytes=0)


def spill(pieces: Iterable[np.ndarray], shape: tuple[int, ...], *, name: Path | str, folder: Path) -> RowFile:
    """All pieces of an array along its first axis, in order, in a file.

    Args:
        pieces: All of one type.
        shape: Of the whole array.
        name: What messages call the file.
        folder: On the disk that takes it; is made if missing.

    Raises:
        OSError: If the disk refuses, such as when it is full; names the file.
        ValueError: If the pieces do not fill the shape.
    """
    file = Spill(name, folder)
    for piece in pieces:
        file.add(piece)
    found = file.rows()
    if found.shape != shape:
        raise ValueError(f"{name}: {found.shape} was written, not {shape}")
    return found
