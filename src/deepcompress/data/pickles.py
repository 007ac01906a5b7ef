"""Read pickles that hold numbers, text, containers and numpy arrays; no other name is looked up, so that no code runs.

Source: https://docs.python.org/3/library/pickle.html#restricting-globals.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing import IO

ARRAY = object()  # stands for the class ndarray, which could be called with any shape


def load(stream: IO[bytes]) -> Any:
    """The value that a pickle holds; texts of Python 2 are read as Latin-1.

    Raises:
        pickle.UnpicklingError: If it names anything but a numpy array, or is damaged. Damaged ones raise other
            errors of Python, too: ValueError, TypeError, LookupError, EOFError, AttributeError, MemoryError.
    """
    return _Plain(stream, encoding="latin1").load()


class _Plain(pickle.Unpickler):
    """Knows the names that pickled arrays need, under which numpy 1 and 2 wrote them."""

    def find_class(self, module: str, name: str) -> Any:
        match (module, name):
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"):
                return _empty
            case ("numpy", "ndarray"):
                return ARRAY
            case ("numpy", "dtype"):
                return _number_type
            case ("_codecs", "encode"):
                return _latin1
        raise pickle.UnpicklingError(f"it names {module}.{name}; only arrays and plain values are allowed")


def _empty(kind: Any, shape: Any, letter: Any) -> np.ndarray:
    """What numpy's `_reconstruct` makes before the state is set."""
    if kind is not ARRAY or shape != (0,):
        raise pickle.UnpicklingError("an array must begin as an empty one")
    return np.empty(0, dtype=np.int8)


def _number_type(code: Any, *_: Any) -> np.dtype:
    """A dtype of numbers: one of objects or records could hold anything."""
    kind = np.dtype(code)
    if kind.kind not in "biuf":
        raise pickle.UnpicklingError(f"an array must hold numbers, got {kind}")
    return kind


def _latin1(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes must be written as Latin-1")
    return text.encode("latin1")
