"""What is kept comes back equal; what is damaged is made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepcompress import kept


def values(seed: int) -> dict[str, np.ndarray]:
    return {"numbers": np.random.default_rng(seed).normal(size=(3, 2)), "word": np.asarray("ant")}


def test_arrays_are_made_once(tmp_path: Path) -> None:
    first, again = (
        kept.arrays(tmp_path / "a.npz", lambda: values(0)),
        kept.arrays(tmp_path / "a.npz", lambda: values(1)),
    )
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_damaged_arrays_are_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    path = tmp_path / "a.npz"
    kept.arrays(path, lambda: values(0))
    content = path.read_bytes()
    flipped = content[:40] + bytes([content[40] ^ 1]) + content[41:]
    path.write_bytes({"cut": content[:-9], "flipped": flipped, "empty": b"", "text": b"what is this?"}[damage])
    again = kept.arrays(path, lambda: values(1))
    assert np.array_equal(again["numbers"], values(1)["numbers"])
    assert "damaged" in caplog.text
    assert np.array_equal(kept.arrays(path, lambda: values(2))["numbers"], values(1)["numbers"])
