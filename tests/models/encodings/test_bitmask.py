"""The bitmask: lossless, as small as promised, and suspicious of damaged parts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models.encodings import bitmask

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.int64]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    sparsity=st.floats(0, 1),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from(DTYPES),
)
def test_any_tensor_comes_back(shape: list[int], sparsity: float, seed: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = (torch.randn(shape, generator=generator) * 50).to(dtype)
    tensor[torch.rand(shape, generator=generator) < sparsity] = 0
    parts = bitmask.encode(tensor)
    back = bitmask.decode(parts, tensor.shape, tensor.dtype)
    assert torch.equal(back, tensor)
    assert back.dtype == tensor.dtype
    assert parts["mask"].numel() == -(-tensor.numel() // 8)
    assert parts["values"].numel() == tensor.count_nonzero()


def test_bits_are_little_endian_within_a_byte() -> None:
    parts = bitmask.encode(torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, -7.0]]))
    assert parts["mask"].tolist() == [0b00000010, 0b00000001]
    assert parts["values"].tolist() == [5.0, -7.0]
    assert bitmask.encode(torch.tensor([-0.0, 1.0]))["values"].tolist() == [1.0]  # a negative zero counts as pruned


GOOD = {"mask": torch.tensor([0b101], dtype=torch.uint8), "values": torch.tensor([1.0, 2.0])}


@pytest.mark.parametrize(
    "parts",
    [
        {"mask": GOOD["mask"]},
        GOOD | {"more": torch.zeros(1)},
        GOOD | {"mask": torch.zeros(2, dtype=torch.uint8)},
        GOOD | {"mask": torch.zeros(1, 1, dtype=torch.uint8)},
        GOOD | {"mask": torch.zeros(1, dtype=torch.int8)},
        GOOD | {"mask": torch.tensor([0b1101], dtype=torch.uint8)},  # a bit behind the third entry
        GOOD | {"values": torch.tensor([1.0])},
        GOOD | {"values": torch.tensor([[1.0, 2.0]])},
        GOOD | {"values": torch.tensor([1.0, 2.0], dtype=torch.float64)},
    ],
)
def test_damaged_parts_are_refused(parts: dict[str, torch.Tensor]) -> None:
    assert bitmask.decode(GOOD, torch.Size([3]), torch.float32).tolist() == [1.0, 0.0, 2.0]
    with pytest.raises(ValueError, match="mask"):
        bitmask.decode(parts, torch.Size([3]), torch.float32)
