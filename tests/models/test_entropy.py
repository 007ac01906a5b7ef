"""Tables of small integers: lossless, near their entropy, the same bytes everywhere, and no trap when damaged."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models import entropy


def entropy_bytes(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / values.size)).sum() / 8)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(0, 40),
    columns=st.integers(0, 40),
    bits=st.integers(2, 8),
    sparsity=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_any_table_comes_back(rows: int, columns: int, bits: int, sparsity: float, seed: int) -> None:
    drawn = np.random.default_rng(seed)
    values = drawn.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (rows, columns)).astype(np.int8)
    values[drawn.random(values.shape) < sparsity] = 0
    values[::3] = values.flat[0] if values.size else 0  # rows of one value beside others
    data = entropy.encode(values)
    assert np.array_equal(entropy.decode(data, rows, columns), values)
    assert data == entropy.encode(values.copy())
    assert len(data) <= 1 + values.size


def test_zeros_take_a_few_bytes_whatever_their_number() -> None:
    zeros = np.zeros((512, 4096), np.int8)
    assert len(entropy.encode(zeros)) == 4
    assert not entropy.decode(entropy.encode(zeros), *zeros.shape).any()


def test_alike_rows_take_their_entropy_and_rows_of_two_kinds_less() -> None:
    drawn = np.random.default_rng(0)
    values = np.clip(np.rint(drawn.normal(0, 2, (64, 2048))), -8, 7).astype(np.int8)
    assert len(entropy.encode(values)) == pytest.approx(entropy_bytes(values), rel=2e-3)
    values[::2, ::16] = 0
    values[1::2] *= drawn.random((32, 2048)) < 0.1
    halves = entropy_bytes(values[::2]) + entropy_bytes(values[1::2])
    assert len(entropy.encode(values)) == pytest.approx(halves, rel=2e-3)
    assert halves < 0.9 * entropy_bytes(values)


def test_the_bytes_are_the_same_on_every_machine() -> None:
    values = np.array([[0, 0, 1, -1], [0, 0, 0, 2]] * 20, np.int8)
    data = bytes.fromhex("01ff0325002525d0dc625f32e8b59f363d0a7582b82d71533014ef61f63842c0cd2433ea1278a64e170000")
    assert np.array_equal(entropy.decode(data, 40, 4), values)


def test_damage_shows_or_gives_other_values_and_never_more_of_them() -> None:
    drawn = np.random.default_rng(1)
    values = (drawn.integers(-4, 4, (6, 50)) * (drawn.random((6, 50)) < 0.5)).astype(np.int8)
    data = entropy.encode(values)
    assert data[0] > 0
    for at in range(len(data)):
        for spoilt in (data[:at], data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]):
            with contextlib.suppress(ValueError):
                assert entropy.decode(spoilt, 6, 50).shape == (6, 50)


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**40, 1), (1, 2**28)])
def test_a_table_that_its_bytes_cannot_hold_is_refused_before_memory_is_taken(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        entropy.decode(entropy.encode(np.zeros((4, 4), np.int8)), *shape)
