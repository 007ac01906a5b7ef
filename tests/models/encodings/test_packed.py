"""Packed integers with scales: lossless for quantized weights, as small as promised, suspicious of damage."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models.encodings import packed, packed_sparse
from deepcompress.models.quantized_weight import WIDTHS, QuantizedWeight

ENCODINGS = {"packed": packed, "packed_sparse": packed_sparse}
SHAPES = [(3, 5), (1, 1), (4, 3, 3, 3), (2, 40), (5, 7, 3, 3)]


def quantized(shape: tuple[int, ...], bits: int, size: int | None, seed: int = 0) -> QuantizedWeight:
    return QuantizedWeight.quantize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), bits, size)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(ENCODINGS)),
    shape=st.sampled_from(SHAPES),
    bits=st.sampled_from(WIDTHS),
    size=st.sampled_from([None, 2, 16, 32]),
    seed=st.integers(0, 2**31),
)
def test_integers_and_scales_come_back(
    name: str, shape: tuple[int, ...], bits: int, size: int | None, seed: int
) -> None:
    weight, encoding = quantized(shape, bits, size, seed), ENCODINGS[name]
    back = encoding.quantized(encoding.encode(weight), shape, torch.float32)
    assert torch.equal(back.codes, weight.codes)
    assert torch.equal(back.scales, weight.scales)
    assert back.bits == bits
    assert torch.equal(encoding.decode(encoding.encode(weight), shape, torch.float32), weight.dequantize())


def test_codes_and_scales_of_a_small_weight() -> None:
    weight = QuantizedWeight(
        torch.tensor([[1, -2, 3, 0], [2, 0, -8, 6]], dtype=torch.int8), torch.tensor([[0.5], [1.0]]).half(), 4
    )
    parts, sparse = packed.encode(weight), packed_sparse.encode(weight)
    assert parts["codes"].tolist() == [[0xE1, 0x03, 0x02, 0x68]]
    assert torch.equal(parts["scales"], weight.scales)
    assert sparse["mask"].tolist() == [0b11010111]
    assert sparse["codes"].tolist() == [[0xE1, 0x23, 0x68, 0]]


def test_a_float_weight_is_rounded_to_eight_bits_with_a_scale_per_output() -> None:
    parts = packed.encode(torch.tensor([[254.0, -2.0], [0.0, 0.0]]))
    assert parts["scales"][0].tolist() == [2.0]
    assert packed.decode(parts, (2, 2), torch.float32).tolist() == [[254.0, -2.0], [0.0, 0.0]]


@pytest.mark.parametrize(("bits", "sparsity"), [(8, 0.5), (4, 0.75), (2, 0.75)])
def test_the_sparse_form_takes_one_bit_per_entry_and_the_packed_survivors(bits: int, sparsity: float) -> None:
    codes = torch.ones(64, 64, dtype=torch.int8)
    codes.view(-1)[: int(4096 * sparsity)] = 0
    weight = QuantizedWeight(codes, torch.ones(64, 1).half(), bits)
    size = {
        name: sum(part.numel() * part.element_size() for part in encoding.encode(weight).values())
        for name, encoding in ENCODINGS.items()
    }
    assert size["packed"] == 4096 * bits / 8 + 128
    assert size["packed_sparse"] == 4096 / 8 + 4096 * (1 - sparsity) * bits / 8 + 128


WEIGHT = quantized((3, 5), 4, 2)
WEIGHT.codes[0, 0] = 0
SCALES = WEIGHT.scales
GOOD = {name: encoding.encode(WEIGHT) for name, encoding in ENCODINGS.items()}


@pytest.mark.parametrize("name", sorted(ENCODINGS))
@pytest.mark.parametrize(
    "damage",
    [
        {"more": torch.zeros(1)},
        {"codes": torch.zeros(3, 4, dtype=torch.uint8)},
        {"codes": torch.zeros(2, 4, dtype=torch.int8)},
        {"codes": torch.zeros(2, 9, dtype=torch.uint8)},
        {"codes": torch.full((2, 4), 255, dtype=torch.uint8)},
        {"scales": SCALES.float()},
        {"scales": SCALES[:2]},
        {"scales": SCALES[0]},
        {"scales": torch.ones(3, 4).half()},  # 5 inputs in groups of 2 are 3 groups
        {"scales": torch.ones(3, 6).half()},
        {"scales": torch.ones(3, 0).half()},
        {"scales": SCALES * 0},
        {"scales": -SCALES},
        {"scales": SCALES * torch.inf},
        {"scales": SCALES * torch.nan},
    ],
)
def test_damaged_parts_are_refused(name: str, damage: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"parts|codes|scale"):
        ENCODINGS[name].decode(GOOD[name] | damage, (3, 5), torch.float32)


@pytest.mark.parametrize(
    "damage",
    [
        {"mask": GOOD["packed_sparse"]["mask"].clone().fill_(255)},
        {"mask": torch.zeros(3, dtype=torch.uint8)},
        {"mask": GOOD["packed_sparse"]["mask"].char()},
        {"codes": torch.zeros_like(GOOD["packed_sparse"]["codes"])},
    ],
)
def test_a_mask_that_does_not_fit_its_survivors_is_refused(damage: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"mask|codes"):
        packed_sparse.decode(GOOD["packed_sparse"] | damage, (3, 5), torch.float32)


@pytest.mark.parametrize("name", sorted(ENCODINGS))
@pytest.mark.parametrize(("shape", "dtype"), [((15,), torch.float32), ((3, 5), torch.float64), ((5, 5), torch.float32)])
def test_other_shapes_and_types_are_refused(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"packed weight|scales"):
        ENCODINGS[name].decode(GOOD[name], shape, dtype)
