"""Integers and scales: torchao is the oracle of both, groups are even, and zeros stay zeros."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models import quantized_weight
from deepcompress.models.quantized_weight import (
    SMALLEST_SCALE,
    QuantizedWeight,
    group_count,
    group_size,
    rows,
    scale_,
    split,
    unclipped_scales,
)
from deepcompress.models.records import WIDTHS
from tests.nets import weight_of


@settings(max_examples=40, deadline=None)
@given(bits=st.sampled_from(WIDTHS), seed=st.integers(0, 2**31))
def test_codes_and_scales_equal_torchao_s(bits: int, seed: int) -> None:
    from torchao.quantization import quant_primitives as oracle

    weight, block, limits = weight_of((6, 64), seed), (1, 16), (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    symmetric = oracle.MappingType.SYMMETRIC_NO_CLIPPING_ERR
    types = {"scale_dtype": torch.float16, "zero_point_dtype": torch.int8}
    scale, zero = oracle.choose_qparams_affine(weight, symmetric, block, torch.int8, *limits, **types)
    codes = oracle.quantize_affine(weight, block, scale.float(), zero, torch.int8, *limits)
    ours = QuantizedWeight.quantize(weight, bits, 16)
    assert torch.equal(ours.scales, scale.view(6, 4))
    assert torch.equal(ours.codes, codes)
    back = oracle.dequantize_affine(codes, block, scale.float(), zero, torch.int8, *limits)
    assert torch.equal(ours.dequantize(), back)


def test_a_row_by_hand() -> None:
    weight = torch.tensor([[-8.0, 3.4, 3.6, 6.0], [7.0, -1.4, 0.2, 0.0], [0.5, 1.5, -2.5, 7.0]])
    ours = QuantizedWeight.quantize(weight, 4)
    assert ours.scales.tolist() == [[1.0], [1.0], [1.0]]
    assert ours.codes.tolist() == [[-8, 3, 4, 6], [7, -1, 0, 0], [0, 2, -2, 7]]  # ties go to even ones
    assert (ours.bits, ours.group_size) == (4, 4)


def test_the_scale_that_clips_nothing_uses_the_odd_negative_value() -> None:
    grouped = torch.tensor([[[-8.0, 1.0], [0.0, 3.5]], [[7.0, -7.0], [0.0, 0.0]]])
    assert unclipped_scales(grouped, 4).tolist() == [[1.0, 0.5], [1.0, SMALLEST_SCALE]]


@pytest.mark.parametrize(("value", "expected"), [(1e-9, 0.0), (1e7, 127 * 65504.0)])
def test_scales_beyond_float16_are_its_smallest_or_largest(value: float, expected: float) -> None:
    assert QuantizedWeight.quantize(torch.tensor([[value, 0.0]]), 8).dequantize().tolist() == [[expected, 0.0]]


@pytest.mark.parametrize("size", [None, 5])
def test_a_few_rows_at_a_time_give_what_all_at_once_give(size: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = weight_of((7, 17))
    at_once = QuantizedWeight.quantize(weight, 3, size).codes
    monkeypatch.setattr(quantized_weight, "WEIGHTS_AT_ONCE", 20)
    assert torch.equal(QuantizedWeight.quantize(weight, 3, size).codes, at_once)


@given(inputs=st.integers(1, 5000), size=st.integers(1, 300))
def test_the_number_of_groups_says_where_they_lie(inputs: int, size: int) -> None:
    number = group_count(inputs, size)
    length = group_size(inputs, number)
    assert length <= size
    assert group_count(inputs, length) == number
    assert 0 < inputs - (number - 1) * length <= length


@given(outputs=st.integers(1, 4), inputs=st.integers(1, 40), size=st.integers(1, 50))
def test_groups_are_filled_up_with_zeros_and_scaled_in_place(outputs: int, inputs: int, size: int) -> None:
    weight = torch.arange(1.0, outputs * inputs + 1).view(outputs, inputs)
    scales = torch.arange(1.0, outputs * group_count(inputs, size) + 1).view(outputs, -1)
    grouped = split(weight, scales.shape[1])
    assert torch.equal(grouped.flatten(1)[:, :inputs], weight)
    assert grouped.sum() == weight.sum()
    expected = (grouped * scales[..., None]).flatten(1)[:, :inputs]
    scale_(weight, scales)
    assert torch.equal(weight, expected)


def test_a_convolution_s_row_runs_over_channel_then_kernel() -> None:
    weight = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    assert rows(weight)[1].tolist() == list(range(12, 24))
    assert torch.equal(rows(weight.to(memory_format=torch.channels_last)), rows(weight))


@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (3, 0)])
def test_what_has_no_inputs_is_no_weight(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="outputs and inputs"):
        rows(torch.zeros(shape))
