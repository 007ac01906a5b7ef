"""Coded tensors: integers and scales as they were, beside any other numbers, and suspicious of damage."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models import records
from deepcompress.models.encodings import coded
from deepcompress.models.quantized_weight import WIDTHS, QuantizedWeight

SHAPES = [(3, 5), (1, 1), (4, 3, 3, 3), (2, 40), (5, 7, 3, 3)]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    bits=st.sampled_from(WIDTHS),
    size=st.sampled_from([None, 2, 16, 32]),
    seed=st.integers(0, 2**31),
)
def test_integers_and_scales_come_back(shape: tuple[int, ...], bits: int, size: int | None, seed: int) -> None:
    weight = QuantizedWeight.quantize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), bits, size)
    parts = coded.encode(weight)
    back = coded.quantized(parts, shape, torch.float32)
    assert back is not None
    assert torch.equal(back.codes, weight.codes)
    assert torch.equal(back.scales, weight.scales)
    assert back.bits == bits
    assert torch.equal(coded.decode(parts, shape, torch.float32), weight.dequantize())


@pytest.mark.parametrize("tensor", [torch.randn(4, 3), torch.randn(7), torch.tensor(12), torch.zeros(0, 3)])
def test_other_numbers_come_back_as_they_are(tensor: torch.Tensor) -> None:
    parts = coded.encode(tensor)
    assert coded.quantized(parts, tensor.shape, tensor.dtype) is None
    assert torch.equal(coded.decode(parts, tensor.shape, tensor.dtype), tensor)


def record(scales: list[list[float]]) -> dict[str, torch.Tensor]:
    codes = torch.ones(len(scales), 5, dtype=torch.int8)
    content = records.encode_weight(records.Weight(codes.numpy(), torch.tensor(scales).half().numpy(), 4))
    return {"record": torch.frombuffer(bytearray(content), dtype=torch.uint8)}


GOOD = record([[1.0], [2.0], [3.0]])


@pytest.mark.parametrize(
    "parts",
    [
        GOOD | {"more": torch.zeros(1)},
        {"record": GOOD["record"].char()},
        {"record": GOOD["record"][:9]},
        record([[1.0] * 4] * 3),  # 5 inputs in groups of 2 are 3 groups
        record([[1.0] * 6] * 3),
        record([[]] * 3),
        record([[1.0], [0.0], [1.0]]),
        record([[1.0], [-1.0], [1.0]]),
        record([[1.0], [torch.inf], [1.0]]),
        record([[1.0], [torch.nan], [1.0]]),
    ],
)
def test_damaged_records_are_refused(parts: dict[str, torch.Tensor]) -> None:
    assert coded.decode(GOOD, (3, 5), torch.float32).tolist() == [[1.0] * 5, [2.0] * 5, [3.0] * 5]
    with pytest.raises(ValueError, match=r"parts|record|cut off|scale"):
        coded.decode(parts, (3, 5), torch.float32)


@pytest.mark.parametrize(("shape", "dtype"), [((15,), torch.float32), ((3, 5), torch.float64), ((5, 3), torch.float32)])
def test_other_shapes_and_types_are_refused(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"quantized weight|damaged|integers"):
        coded.decode(GOOD, shape, dtype)
