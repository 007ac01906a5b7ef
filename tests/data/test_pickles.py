"""Pickles of plain values come back, any other is refused. Attacks: tests/faults/test_archives.py."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import pytest

from deepcompress.data import pickles


def test_plain_values_come_back() -> None:
    assert pickles.load(io.BytesIO(pickle.dumps({"a": [1, 2.5, None], "b": ("é", b"\xff")}))) == {
        "a": [1, 2.5, None],
        "b": ("é", b"\xff"),
    }


def test_any_other_name_is_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match="it names pathlib"):
        pickles.load(io.BytesIO(pickle.dumps(Path("x"))))
