"""Sixteen-bit storage: lossless for what the type holds, dense and sparse, suspicious of damage."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models.encodings import cast, cast_sparse

ENCODINGS = {"cast": cast, "cast_sparse": cast_sparse}
HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(params=sorted(ENCODINGS))
def encoding(request: pytest.FixtureRequest) -> ModuleType:
    return ENCODINGS[request.param]


@settings(max_examples=50, deadline=None)
@given(
    name=st.sampled_from(sorted(ENCODINGS)),
    half=st.sampled_from(HALVES),
    shape=st.lists(st.integers(0, 5), max_size=4),
    sparsity=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_what_the_type_holds_comes_back(
    name: str, half: torch.dtype, shape: list[int], sparsity: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(shape, generator=generator).to(half).float()
    tensor[torch.rand(shape, generator=generator) < sparsity] = 0
    parts = ENCODINGS[name].encode(tensor.to(half))
    assert parts["values"].dtype == half
    assert torch.equal(ENCODINGS[name].decode(parts, tensor.shape, torch.float32), tensor)


@pytest.mark.parametrize(
    "damage",
    [
        {"more": torch.zeros(1)},
        {"values": torch.zeros(3)},
        {"values": torch.zeros(3, dtype=torch.int16)},
        {"values": torch.zeros(4, dtype=torch.float16)},
    ],
)
def test_damaged_parts_are_refused(encoding: ModuleType, damage: dict[str, torch.Tensor]) -> None:
    good = encoding.encode(torch.tensor([1.0, 2.0, 3.0]))
    assert encoding.decode(good, (3,), torch.float32).tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match=r"values|parts|mask"):
        encoding.decode(good | damage, (3,), torch.float32)


def test_other_types_are_refused(encoding: ModuleType) -> None:
    with pytest.raises(ValueError, match="float16 or bfloat16"):
        encoding.decode(encoding.encode(torch.ones(3)), (3,), torch.float64)
