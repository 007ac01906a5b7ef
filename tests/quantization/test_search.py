"""The searches: never worse than no clipping by what they look at, and equal to trying every factor one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models import groups
from deepcompress.quantization import search
from deepcompress.quantization.formats.intn import IntN


def weight_of(outputs: int, inputs: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)) ** 3


def weight_error(form: IntN, weight: torch.Tensor, shrink: torch.Tensor | None) -> torch.Tensor:
    """Squared error per group."""
    error = form.rounded(weight, form.scales(weight, shrink)) - weight
    return groups.split(error.square(), form.groups(weight)).sum(2)


@settings(max_examples=30, deadline=None)
@given(bits=st.integers(2, 8), size=st.sampled_from([None, 5, 16]), seed=st.integers(0, 2**31))
def test_the_least_weight_error_is_that_of_a_naive_loop(bits: int, size: int | None, seed: int) -> None:
    form, weight = IntN(bits, size), weight_of(3, 37, seed)
    found = search.by_weight_error(groups.split(weight, form.groups(weight)), bits)
    tried = torch.stack([weight_error(form, weight, torch.full_like(found, f)) for f in search.factors(bits)])
    torch.testing.assert_close(weight_error(form, weight, found), tried.amin(0))


@pytest.mark.parametrize("bits", range(2, 9))
def test_trials_fall_from_no_clipping_and_further_at_fewer_bits(bits: int) -> None:
    tried = search.factors(bits)
    assert tried[0] == 1
    assert tried == sorted(tried, reverse=True)
    assert bits == 8 or tried[-1] < search.factors(bits + 1)[-1]


def test_an_outlier_is_clipped_at_few_bits() -> None:
    weight = torch.cat([torch.linspace(-1, 1, 400), torch.tensor([3.0])])[None]
    assert search.by_weight_error(weight[:, None], 3).item() < 0.6
    assert search.by_weight_error(torch.tensor([[[7.0, -7.0, 1.0, 4.0]]]), 4).item() == 1.0


@pytest.mark.parametrize("size", [None, 8])
def test_parts_of_the_rows_give_what_all_at_once_give(size: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, inputs = weight_of(6, 32), torch.rand(10, 32, generator=torch.Generator().manual_seed(1))
    count = groups.count(32, size)
    cut, seen, left = groups.split(weight, count), groups.split(inputs, count), torch.zeros(6, 10)
    at_once = search.by_weight_error(cut, 3), search.by_output_error(cut, 3, seen, left)
    monkeypatch.setattr(search, "WEIGHTS_AT_ONCE", 40)
    monkeypatch.setattr(search, "OUTPUT_WEIGHTS_AT_ONCE", 40)
    assert torch.equal(search.by_weight_error(cut, 3), at_once[0])
    assert torch.equal(search.by_output_error(cut, 3, seen, left), at_once[1])


@settings(max_examples=20, deadline=None)
@given(bits=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_with_one_group_the_output_error_is_the_least_of_all_factors(bits: int, seed: int) -> None:
    weight, inputs = weight_of(4, 12, seed), torch.rand(20, 12, generator=torch.Generator().manual_seed(seed))
    form, left = IntN(bits), torch.randn(4, 20, generator=torch.Generator().manual_seed(2)) * 0.1

    def error(shrink: torch.Tensor) -> torch.Tensor:
        rounding = form.rounded(weight, form.scales(weight, shrink)) - weight
        return (left + rounding @ inputs.T).square().sum(1, keepdim=True)

    found = search.by_output_error(weight[:, None], bits, inputs[:, None], left)
    tried = torch.stack([error(torch.full((4, 1), factor)) for factor in search.factors(bits)])
    assert (error(found) <= error(torch.ones(4, 1)) * (1 + 1e-4)).all()
    assert (error(found) >= tried.amin(0) * (1 - 1e-4)).all()


def test_behind_relu_a_shift_of_the_output_is_avoided_that_the_weight_error_does_not_see() -> None:
    weight = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))
    inputs = torch.rand(2, 200, 1024, generator=torch.Generator().manual_seed(1))
    form, count = IntN(3, 32), 32
    cut, seen = groups.split(weight, count), groups.split(inputs[0], count)
    shrinks = {
        "weight": search.by_weight_error(cut, 3),
        "output": search.by_output_error(cut, 3, seen, torch.zeros(64, 200)),
    }
    on_others = {
        name: float(((form.rounded(weight, form.scales(weight, shrink)) - weight) @ inputs[1].T).norm())
        for name, shrink in shrinks.items()
    }
    assert on_others["output"] < 0.5 * on_others["weight"]
