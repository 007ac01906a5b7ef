"""The stream of bits: dense, little-endian, and equal to a naive loop over single bits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepcompress.models.encodings import _bits


def codes_of(bits: int, count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    lowest = -(2 ** (bits - 1))
    return torch.randint(lowest, -lowest, (count,), generator=generator, dtype=torch.int8)


def naive(codes: list[int], bits: int) -> list[int]:
    stream = [(code >> k) & 1 for code in codes for k in range(bits)]
    stream += [0] * (-len(stream) % (8 * bits))
    return [sum(stream[8 * i + k] << k for k in range(8)) for i in range(len(stream) // 8)]


@given(bits=st.sampled_from(_bits.WIDTHS), count=st.integers(0, 200), seed=st.integers(0, 2**31))
def test_any_codes_come_back_and_lie_where_a_naive_loop_puts_them(bits: int, count: int, seed: int) -> None:
    codes = codes_of(bits, count, seed)
    stream = _bits.pack(codes, bits)
    assert stream.flatten().tolist() == naive(codes.tolist(), bits)
    assert torch.equal(_bits.unpack(stream, count), codes)


@pytest.mark.parametrize("bits", _bits.WIDTHS)
def test_more_codes_than_are_unpacked_at_once_come_back(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bits, "BLOCKS_AT_ONCE", 3)
    codes = codes_of(bits, 101)
    assert torch.equal(_bits.unpack(_bits.pack(codes, bits), 101), codes)


def test_the_low_nibble_comes_first() -> None:
    stream = _bits.pack(torch.tensor([1, -1, 7, -8], dtype=torch.int8), 4)
    assert stream.tolist() == [[0xF1, 0x87, 0, 0]]


@pytest.mark.parametrize(("code", "bits"), [(8, 4), (-9, 4), (2, 2), (0, 1), (0, 9)])
def test_a_code_that_does_not_fit_and_other_widths_are_refused(code: int, bits: int) -> None:
    with pytest.raises(ValueError, match=rf"{bits} bits hold|2 to 8 bits, got {bits}"):
        _bits.pack(torch.tensor([0, code], dtype=torch.int8), bits)


@pytest.mark.parametrize(
    "stream",
    [
        torch.zeros(2, 4, dtype=torch.uint8),
        torch.zeros(1, 9, dtype=torch.uint8),
        torch.zeros(1, 1, dtype=torch.uint8),
        torch.zeros(4, dtype=torch.uint8),
        torch.zeros(1, 4, dtype=torch.int8),
        torch.tensor([[0, 0, 0, 0x10]], dtype=torch.uint8),  # the eighth of seven values
    ],
)
def test_a_damaged_stream_is_refused(stream: torch.Tensor) -> None:
    assert _bits.unpack(torch.zeros(1, 4, dtype=torch.uint8), 7).tolist() == [0] * 7
    with pytest.raises(ValueError, match="codes"):
        _bits.unpack(stream, 7)
