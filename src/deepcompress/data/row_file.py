"""An array in a file of which a reader holds only the rows that it asked for: more data than memory.

Rows come by plain reads. A memory map would count every page that was ever touched as this process's memory, and
a file that is cut off under a map ends the process without a word; a read tells of both, and of a failing disk.
Within its budget an array is loaded whole at the first wish, once for all that ask.
"""

from __future__ import annotations

import math
import os
import threading
import tokenize
import weakref
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from jaxtyping import Int

# What numpy says of a damaged file: it reads a header as Python's literals.
DAMAGED = (ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, tokenize.TokenError)


class RowFile:
    """Rows of an array that lies in a file; indexed along the first axis like a numpy array.

    Any thread may read. Above its budget the array cannot be made a numpy array as a whole: whoever tries has
    a mistake in the program, and gets a MemoryError before memory is gone.

    Args:
        file: Where the rows lie.
        shape: Of the array; its first axis are the rows.
        dtype: Of its elements.
        offset: Of the first row in the file, bytes.
        budget_bytes: What the array may take in memory as a whole.
    """

    def __init__(self, file: Readable, shape: tuple[int, ...], dtype: Any, *, offset: int, budget_bytes: int) -> None:
        self._file, self._offset = file, offset
        self._places: Int[np.ndarray, " rows"] | None = None  # of the rows in the file; None: all
        self.shape, self.dtype, self.budget_bytes = shape, np.dtype(dtype), budget_bytes

    @classmethod
    def open(cls, path: Path, *, budget_bytes: int) -> RowFile:
        """The array of a .npy file.

        Raises:
            FileNotFoundError: If there is no such file.
            DAMAGED: If it is no .npy file of plain numbers in C order, or is cut off.
        """
        mapped = np.lib.format.open_memmap(path, mode="r")  # checks the header and that the file is long enough
        if not mapped.flags.c_contiguous:
            raise ValueError("its rows do not lie one after the other")
        shape, dtype, offset = mapped.shape, mapped.dtype, int(mapped.offset)
        return cls(Readable(path.open("rb", buffering=0), path), shape, dtype, offset=offset, budget_bytes=budget_bytes)

    @classmethod
    def is_whole(cls, path: Path, *, rows: int, dtype: str) -> bool:
        """Whether a file is there, and is a .npy file of so many rows of a type and of nothing behind them."""
        try:
            found = cls.open(path, budget_bytes=0)
        except (FileNotFoundError, *DAMAGED):
            return False
        size = found._offset + found.nbytes
        return (len(found), found.dtype, size) == (rows, np.dtype(dtype), path.stat().st_size)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Size of the whole array."""
        return len(self) * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def fits(self) -> bool:
        """Whether the array may be in memory as a whole."""
        return self.nbytes <= self.budget_bytes

    @cached_property
    def whole(self) -> np.ndarray:
        """All rows, read once; a MemoryError above the budget."""
        if not self.fits:
            raise MemoryError(f"{self._file.name}: {self.nbytes} bytes are over the budget of {self.budget_bytes}")
        found = self.read(np.arange(len(self)))
        found.flags.writeable = False
        return found

    def read(self, rows: Int[np.ndarray, " rows"], out: np.ndarray | None = None) -> np.ndarray:
        """Rows in the order given.

        Args:
            rows: Their numbers, not negative.
            out: Contiguous memory to read them into; new memory if None.

        Raises:
            UserError: If the file ends before them.
        """
        found = np.empty((len(rows), *self.shape[1:]), self.dtype) if out is None else out
        if "whole" in self.__dict__:
            return np.take(self.whole, rows, axis=0, out=found, mode="clip")
        into = found.reshape(-1).view(np.uint8).data
        places = np.asarray(rows if self._places is None else self._places[rows])
        starts = np.flatnonzero(np.diff(places, prepend=-2) != 1)  # of rows that follow each other in the file too
        stops = np.append(starts, len(places))[1:]
        size = self.row_bytes
        runs = np.argsort(places[starts], kind="stable")  # in the order in which they lie in the file
        for start, stop, place in zip(*(each[runs].tolist() for each in (starts, stops, places[starts])), strict=True):
            self._file.read_into(into[start * size : stop * size], self._offset + place * size)
        return found

    def select(self, rows: Int[np.ndarray, " rows"]) -> RowFile:
        """Some rows of the same file as an array of their own; nothing is read."""
        chosen = RowFile(
            self._file,
            (len(rows), *self.shape[1:]),
            self.dtype,
            offset=self._offset,
            budget_bytes=self.budget_bytes,
        )
        chosen._places = np.asarray(rows if self._places is None else self._places[rows])
        return chosen

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, int | np.integer):
            return self.read(np.array([range(len(self))[int(key)]]))[0]
        return self.read(np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.arange(len(self))[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.whole, dtype=dtype) if copy else np.asarray(self.whole, dtype=dtype)


class Readable:
    """A file that threads share; it is closed when nobody holds it any more.

    Args:
        stream: Unbuffered.
        name: What messages call it.
    """

    def __init__(self, stream: FileIO, name: Path | str) -> None:
        self.name, self._stream, self._lock = str(name), stream, threading.Lock()
        weakref.finalize(self, stream.close)

    def read_into(self, memory: memoryview, offset: int) -> None:
        """Fill the memory with the bytes from an offset on."""
        try:
            while memory:
                count = self._read_some(memory, offset)
                if not count:
                    raise UserError(f"{self.name}: is cut off; run the stage that wrote it again")
                memory, offset = memory[count:], offset + count
        except OSError as error:
            error.filename = self.name
            raise

    def _read_some(self, memory: memoryview, offset: int) -> int:
        """What one read gives, at most the memory's size; in one call of the system where it has such a call."""
        if hasattr(os, "preadv"):
            return os.preadv(self._stream.fileno(), [memory], offset)
        with self._lock:  # threads share the place in the file
            self._stream.seek(offset)
            return self._stream.readinto(memory) or 0
