"""Groups of a row: even, none a stump, and told from their number alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepcompress.models import groups


def test_a_row_that_the_size_does_not_divide_is_cut_evenly() -> None:
    assert groups.count(27, 16) == 2
    assert groups.size(27, 2) == 14
    assert groups.count(27, None) == 1
    assert groups.size(64, groups.count(64, 32)) == 32


@given(inputs=st.integers(1, 5000), size=st.integers(1, 300))
def test_the_number_of_groups_says_where_they_lie(inputs: int, size: int) -> None:
    number = groups.count(inputs, size)
    length = groups.size(inputs, number)
    assert length <= size
    assert groups.count(inputs, length) == number
    assert 0 < inputs - (number - 1) * length <= length


@given(outputs=st.integers(1, 5), inputs=st.integers(1, 40), size=st.integers(1, 50))
def test_split_and_join_undo_each_other(outputs: int, inputs: int, size: int) -> None:
    rows = torch.arange(1.0, outputs * inputs + 1).view(outputs, inputs)
    cut = groups.split(rows, groups.count(inputs, size))
    assert torch.equal(groups.join(cut, rows.shape), rows)
    assert cut.sum() == rows.sum()


@given(outputs=st.integers(1, 4), inputs=st.integers(1, 40), size=st.integers(1, 50))
def test_scaling_in_place_multiplies_each_group(outputs: int, inputs: int, size: int) -> None:
    rows = torch.arange(1.0, outputs * inputs + 1).view(outputs, inputs)
    scales = torch.arange(1.0, outputs * groups.count(inputs, size) + 1).view(outputs, -1)
    expected = groups.join(groups.split(rows, scales.shape[1]) * scales[..., None], rows.shape)
    groups.scale_(rows, scales)
    assert torch.equal(rows, expected)


def test_a_convolution_s_row_runs_over_channel_then_kernel() -> None:
    weight = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    assert groups.rows(weight)[1].tolist() == list(range(12, 24))
    last = weight.to(memory_format=torch.channels_last)
    assert torch.equal(groups.rows(last), groups.rows(weight))


@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (3, 0)])
def test_what_has_no_inputs_is_no_weight(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="outputs and inputs"):
        groups.rows(torch.zeros(shape))
