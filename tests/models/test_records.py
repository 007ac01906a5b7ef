"""Records: weights and vectors come back to the last bit, near their entropy, and a spoilt byte is told."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models import records
from deepcompress.models.records import Weight, decode_table, encode_table

SHAPES = {"outputs": st.integers(0, 40), "inputs": st.integers(0, 40), "bits": st.integers(2, 8)}


def codes(outputs: int, inputs: int, bits: int, sparsity: float = 0.5, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed)
    values = drawn.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (outputs, inputs)).astype(np.int8)
    values[drawn.random(values.shape) < sparsity] = 0
    return values


def entropy_bytes(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / values.size)).sum() / 8)


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


SCALES = np.linspace(1e-4, 1e-2, 12).reshape(6, 2).astype(np.float16)
RECORDS = {
    "weight": (
        records.encode_weight(Weight(codes(6, 50, 3, seed=1), SCALES, 3)),
        lambda record: records.decode_weight(record, 6, 50).content,
    ),
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
    assert kind != "weight" or encode_table(codes(6, 50, 3, seed=1))[0] > 0  # by the coder, not as they are
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


# Tables of small integers.


@settings(max_examples=80, deadline=None)
@given(**SHAPES, sparsity=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_any_table_comes_back(outputs: int, inputs: int, bits: int, sparsity: float, seed: int) -> None:
    values = codes(outputs, inputs, bits, sparsity, seed)
    values[::3] = values.flat[0] if values.size else 0  # rows of one value beside others
    data = encode_table(values)
    assert np.array_equal(decode_table(data, outputs, inputs), values)
    assert data == encode_table(values.copy())
    assert len(data) <= 1 + values.size


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 6), groups=st.integers(1, 9), length=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_any_table_comes_back_by_groups(rows: int, groups: int, length: int, seed: int) -> None:
    values = codes(rows * groups, length, 4, seed=seed)
    values[::2] //= 3  # groups of two kinds
    whole = values.reshape(rows, -1)
    data = encode_table(whole, groups)
    assert np.array_equal(decode_table(data, *whole.shape, groups), whole)
    assert len(data) <= len(encode_table(whole))


def test_groups_of_two_kinds_in_every_row_take_less_than_rows_that_are_alike() -> None:
    values = codes(64 * 32, 32, 4, sparsity=0.0)
    values[::2] //= 6
    whole = values.reshape(64, -1)
    halves = entropy_bytes(values[::2]) + entropy_bytes(values[1::2])
    assert len(encode_table(whole)) > 1.05 * halves
    assert len(encode_table(whole, 32)) == pytest.approx(halves + 64 * 32 / 8, rel=5e-3)  # and which kind each is
    with pytest.raises(ValueError, match="no coded integers"):
        decode_table(encode_table(whole, 32), *whole.shape, 33)
    without_scales = RECORDS["weight"][0][:5] + records.join([b"\0", encode_table(whole, 32), b"\0", b"\0"])
    with pytest.raises(ValueError, match="no record of a quantized weight"):
        records.decode_weight(without_scales, *whole.shape)


def test_of_few_wide_values_neighbours_share_a_byte_of_the_histogram() -> None:
    drawn = np.random.default_rng(0)
    values = np.clip(np.rint(drawn.normal(0, 40, (1, 2000))), -128, 127).astype(np.int8)
    data = encode_table(values)
    assert 1 << (data[0] >> records.SHARED & 3) == 8
    assert np.array_equal(decode_table(data, *values.shape), values)
    span = int(values.max()) - int(values.min()) + 1
    assert len(data) < 1 + values.size * np.log2(40 * np.sqrt(2 * np.pi * np.e)) / 8 + span / 6


def test_zeros_take_a_few_bytes_whatever_their_number() -> None:
    zeros = np.zeros((512, 4096), np.int8)
    assert len(encode_table(zeros)) == 4
    assert not decode_table(encode_table(zeros), *zeros.shape).any()


def test_alike_rows_take_their_entropy_and_rows_of_two_kinds_less() -> None:
    drawn = np.random.default_rng(0)
    values = np.clip(np.rint(drawn.normal(0, 2, (64, 2048))), -8, 7).astype(np.int8)
    assert len(encode_table(values)) == pytest.approx(entropy_bytes(values), rel=2e-3)
    values[::2, ::16] = 0
    values[1::2] *= drawn.random((32, 2048)) < 0.1
    halves = entropy_bytes(values[::2]) + entropy_bytes(values[1::2])
    assert len(encode_table(values)) == pytest.approx(halves, rel=2e-3)
    assert halves < 0.9 * entropy_bytes(values)


def test_the_bytes_are_the_same_on_every_machine() -> None:
    values = np.array([[0, 0, 1, -1], [0, 0, 0, 2]] * 20, np.int8)
    data = bytes.fromhex("01ff0325002525d0dc625f32e8b59f363d0a7582b82d71533014ef61f63842c0cd2433ea1278a64e170000")
    assert np.array_equal(decode_table(data, 40, 4), values)


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**40, 1), (1, 2**28)])
def test_a_table_that_its_bytes_cannot_hold_is_refused_before_memory_is_taken(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        decode_table(encode_table(np.zeros((4, 4), np.int8)), *shape)
