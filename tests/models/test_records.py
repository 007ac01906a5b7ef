"""Records: weights and vectors come back to the last bit, and a spoilt byte is told, never a wrong number given."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models import records
from deepcompress.models.records import Weight


def weight(outputs: int, inputs: int, groups: int, bits: int, seed: int = 0) -> Weight:
    drawn = np.random.default_rng(seed)
    codes = drawn.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (outputs, inputs)) * (
        drawn.random((outputs, inputs)) < 0.5
    )
    return Weight(codes.astype(np.int8), drawn.uniform(1e-4, 1e-2, (outputs, groups)).astype(np.float16), bits)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(width=32, allow_nan=False), max_size=50))
def test_floats_come_back_to_the_last_bit(values: list[float]) -> None:
    array = np.array(values, np.float32)
    for stored in (array, array[None, :, None], np.zeros_like(array)):
        back = records.decode_array(records.encode_array(stored), stored.shape, np.float32)
        assert (back.tobytes(), back.shape) == (stored.tobytes(), stored.shape)


def test_counts_come_back_and_nothing_else_is_taken() -> None:
    counts = np.array([0, -1, 2**62])
    assert records.decode_array(records.encode_array(counts), (3,), np.int64).tolist() == counts.tolist()
    assert records.decode_array(records.encode_array(counts[0]), (), np.int64).shape == ()
    with pytest.raises(ValueError, match="float32 or int64, got float64"):
        records.encode_array(np.zeros(2))


def test_what_halves_hold_takes_two_bytes_at_most_and_a_constant_a_few() -> None:
    values = np.random.default_rng(0).normal(0, 0.1, 1000).astype(np.float16).astype(np.float32)
    assert len(records.encode_array(values)) < 1800
    assert len(records.encode_array(values + np.float32(1e-6))) < 3800
    assert len(records.encode_array(np.full(1000, 0.99999, np.float32))) < 32


RECORDS = {
    "weight": (records.encode_weight(weight(5, 9, 2, 4)), lambda record: records.decode_weight(record, 5, 9).content),
    "halves": (
        records.encode_array(np.arange(40, dtype=np.float32)),
        lambda record: records.decode_array(record, (40,), np.float32).tobytes(),
    ),
    "counts": (
        records.encode_array(np.arange(3)),
        lambda record: records.decode_array(record, (3,), np.int64).tobytes(),
    ),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_every_spoilt_byte_and_every_cut_is_told(kind: str) -> None:
    record, decode = RECORDS[kind]
    content = decode(record)
    for at in range(len(record)):
        for flip in (1, 128, 255):
            with contextlib.suppress(ValueError):
                assert decode(record[:at] + bytes([record[at] ^ flip]) + record[at + 1 :]) == content
        with pytest.raises(ValueError, match=r"cut off|no record|coded|integers|damaged|symbols"):
            decode(record[:at])


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [((3, 2), np.int64, "no record of 6 numbers"), ((3,), np.float32, "holds int64, not float32")],
)
def test_a_record_of_something_else_is_refused(shape: tuple[int, ...], dtype: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        records.decode_array(RECORDS["counts"][0], shape, dtype)
    with pytest.raises(ValueError, match="no record of a quantized weight"):
        records.decode_weight(RECORDS["counts"][0], 3, 1)


@given(parts=st.lists(st.binary(max_size=300), max_size=5))
def test_joined_parts_come_apart(parts: list[bytes]) -> None:
    assert records.split(records.join(parts)) == parts


@pytest.mark.parametrize("data", [b"\x05abc", b"\xff\xff", b"\xff" * 40])
def test_parts_that_end_too_early_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cut off"):
        records.split(data)
