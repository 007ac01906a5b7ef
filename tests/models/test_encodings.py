"""Encodings: what each must keep (equal tensors, damaged parts refused with a ValueError), then what each promises."""

from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress import params
from deepcompress.models import records
from deepcompress.models.encodings import bitmask, cast, cast_sparse, coded
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.records import WIDTHS
from tests.nets import weight_of

NAMES = params.plugins("models.encodings")
DRAWN: dict[str, Any] = {
    "shape": st.lists(st.integers(0, 5), max_size=4),
    "sparsity": st.floats(0, 1),
    "seed": st.integers(0, 2**31),
}


def sparse(shape: list[int], sparsity: float, seed: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    tensor = (torch.randn(shape, generator=generator) * 50).to(dtype)
    tensor[torch.rand(shape, generator=generator) < sparsity] = 0
    return tensor


@pytest.mark.parametrize("name", NAMES)
def test_an_encoding_gives_plain_parts_of_which_zeros_come_back_and_none_may_miss(name: str) -> None:
    encoding, tensor = params.plugin("models.encodings", name), torch.zeros(4, 3, 3, 3)
    parts = encoding.encode(tensor)
    assert torch.equal(encoding.decode(parts, tensor.shape, tensor.dtype), tensor)
    assert all(isinstance(part, torch.Tensor) and part.is_contiguous() for part in parts.values())
    assert all(key.isidentifier() for key in parts)
    with pytest.raises(ValueError, match="parts"):
        encoding.decode({}, tensor.shape, tensor.dtype)


# bitmask


@settings(max_examples=60, deadline=None)
@given(**DRAWN, dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.int64]))
def test_any_tensor_comes_back_from_a_bitmask(shape: list[int], sparsity: float, seed: int, dtype: torch.dtype) -> None:
    tensor = sparse(shape, sparsity, seed, dtype)
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


MASKED = {"mask": torch.tensor([0b101], dtype=torch.uint8), "values": torch.tensor([1.0, 2.0])}


@pytest.mark.parametrize(
    "parts",
    [
        {"mask": MASKED["mask"]},
        MASKED | {"more": torch.zeros(1)},
        MASKED | {"mask": torch.zeros(2, dtype=torch.uint8)},
        MASKED | {"mask": torch.zeros(1, 1, dtype=torch.uint8)},
        MASKED | {"mask": torch.zeros(1, dtype=torch.int8)},
        MASKED | {"mask": torch.tensor([0b1101], dtype=torch.uint8)},  # a bit behind the third entry
        MASKED | {"values": torch.tensor([1.0])},
        MASKED | {"values": torch.tensor([[1.0, 2.0]])},
        MASKED | {"values": torch.tensor([1.0, 2.0], dtype=torch.float64)},
    ],
)
def test_damaged_parts_of_a_bitmask_are_refused(parts: dict[str, torch.Tensor]) -> None:
    assert bitmask.decode(MASKED, torch.Size([3]), torch.float32).tolist() == [1.0, 0.0, 2.0]
    with pytest.raises(ValueError, match="mask"):
        bitmask.decode(parts, torch.Size([3]), torch.float32)


# cast and cast_sparse


@settings(max_examples=50, deadline=None)
@given(**DRAWN, encoding=st.sampled_from([cast, cast_sparse]), half=st.sampled_from(cast.DTYPES))
def test_what_sixteen_bits_hold_comes_back(
    shape: list[int], sparsity: float, seed: int, encoding: ModuleType, half: torch.dtype
) -> None:
    tensor = sparse(shape, sparsity, seed, half)
    parts = encoding.encode(tensor)
    assert parts["values"].dtype == half
    assert torch.equal(encoding.decode(parts, tensor.shape, torch.float32), tensor.float())


@pytest.mark.parametrize("encoding", [cast, cast_sparse])
@pytest.mark.parametrize(
    "damage",
    [
        {"more": torch.zeros(1)},
        {"values": torch.zeros(3)},
        {"values": torch.zeros(3, dtype=torch.int16)},
        {"values": torch.zeros(4, dtype=torch.float16)},
    ],
)
def test_damaged_parts_of_a_cast_and_another_type_are_refused(
    encoding: ModuleType, damage: dict[str, torch.Tensor]
) -> None:
    good = encoding.encode(torch.tensor([1.0, 2.0, 3.0]))
    assert encoding.decode(good, (3,), torch.float32).tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="float16 or bfloat16"):
        encoding.decode(good, (3,), torch.float64)
    with pytest.raises(ValueError, match=r"values|parts|mask"):
        encoding.decode(good | damage, (3,), torch.float32)


# coded


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(3, 5), (1, 1), (4, 3, 3, 3), (2, 40), (5, 7, 3, 3)]),
    bits=st.sampled_from(WIDTHS),
    size=st.sampled_from([None, 2, 16, 32]),
    seed=st.integers(0, 2**31),
)
def test_integers_and_scales_come_back(shape: tuple[int, ...], bits: int, size: int | None, seed: int) -> None:
    weight = QuantizedWeight.quantize(weight_of(shape, seed), bits, size)
    parts = coded.encode(weight)
    back = coded.decode(parts, shape, torch.float32)
    assert torch.equal(back.codes, weight.codes)
    assert torch.equal(back.scales, weight.scales)
    assert back.bits == bits


@pytest.mark.parametrize("tensor", [torch.randn(4, 3), torch.randn(7), torch.tensor(12), torch.zeros(0, 3)])
def test_other_numbers_come_back_as_they_are(tensor: torch.Tensor) -> None:
    assert torch.equal(coded.decode(coded.encode(tensor), tensor.shape, tensor.dtype), tensor)


def record(scales: list[list[float]]) -> dict[str, torch.Tensor]:
    codes = torch.ones(len(scales), 5, dtype=torch.int8)
    content = records.encode_weight(records.Weight(codes.numpy(), torch.tensor(scales).half().numpy(), 4))
    return {"record": torch.frombuffer(bytearray(content), dtype=torch.uint8)}


CODED = record([[1.0], [2.0], [3.0]])


@pytest.mark.parametrize(
    "parts",
    [
        CODED | {"more": torch.zeros(1)},
        {"record": CODED["record"].char()},
        {"record": CODED["record"][:9]},
        record([[1.0] * 4] * 3),  # 5 inputs in groups of 2 are 3 groups
        record([[1.0] * 6] * 3),
        record([[]] * 3),
        *(record([[1.0], [scale], [1.0]]) for scale in (0.0, -1.0, torch.inf, torch.nan)),
    ],
)
def test_damaged_records_are_refused(parts: dict[str, torch.Tensor]) -> None:
    assert coded.decode(CODED, (3, 5), torch.float32).dequantize().tolist() == [[1.0] * 5, [2.0] * 5, [3.0] * 5]
    with pytest.raises(ValueError, match=r"parts|record|cut off|scale"):
        coded.decode(parts, (3, 5), torch.float32)


@pytest.mark.parametrize(("shape", "dtype"), [((15,), torch.float32), ((3, 5), torch.float64), ((5, 3), torch.float32)])
def test_other_shapes_and_types_are_refused(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"quantized weight|damaged|integers"):
        coded.decode(CODED, shape, dtype)
