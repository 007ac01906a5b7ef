"""The search for scales: each lessens what it looks at and equals trying every ratio."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models.quantized_weight import split
from deepcompress.quantization import clipping
from deepcompress.quantization.formats.intn import IntN


def weight_of(outputs: int, inputs: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)) ** 3


def error_of(form: IntN, weight: torch.Tensor, ratio: torch.Tensor | None) -> torch.Tensor:
    return form.quantize(weight, ratio).dequantize() - weight


@settings(max_examples=30, deadline=None)
@given(bits=st.integers(2, 8), size=st.sampled_from([None, 5, 16]), seed=st.integers(0, 2**31))
def test_the_least_weight_error_is_that_of_a_naive_loop(bits: int, size: int | None, seed: int) -> None:
    form, weight = IntN(bits, size), weight_of(3, 37, seed)
    count = form.groups(weight)

    def squared(ratio: torch.Tensor) -> torch.Tensor:
        return split(error_of(form, weight, ratio).square(), count).sum(2)

    found = clipping.least_weight_error(split(weight, count), bits)
    tried = torch.stack([squared(torch.full_like(found, ratio)) for ratio in clipping.trial_ratios(bits)])
    largest = error_of(form, weight, None).abs().max() * weight.abs().max()
    within = 4 * torch.finfo(weight.dtype).eps * weight.shape[1] * float(largest)  # a sum of squares of differences
    torch.testing.assert_close(squared(found), tried.amin(0), rtol=1e-5, atol=within)


@settings(max_examples=20, deadline=None)
@given(bits=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_with_one_group_the_output_error_is_the_least_of_all_ratios(bits: int, seed: int) -> None:
    weight, inputs = weight_of(4, 12, seed), torch.rand(20, 12, generator=torch.Generator().manual_seed(seed))
    form, residual = IntN(bits), torch.randn(4, 20, generator=torch.Generator().manual_seed(2)) * 0.1

    def squared(ratio: torch.Tensor) -> torch.Tensor:
        return (residual + error_of(form, weight, ratio) @ inputs.T).square().sum(1, keepdim=True)

    found = clipping.least_output_error(weight[:, None], bits, inputs[:, None], residual)
    tried = torch.stack([squared(torch.full((4, 1), ratio)) for ratio in clipping.trial_ratios(bits)])
    terms = residual.abs().max() + inputs.shape[1] * error_of(form, weight, None).abs().max()
    within = torch.finfo(weight.dtype).eps * weight.shape[1] * len(inputs) * terms.square()  # terms that may cancel
    assert (squared(found) <= squared(torch.ones(4, 1)) + within).all()
    assert (squared(found) >= tried.amin(0) - within).all()


def test_an_outlier_is_clipped_at_few_bits() -> None:
    weight = torch.cat([torch.linspace(-1, 1, 400), torch.tensor([3.0])])[None]
    assert clipping.least_weight_error(weight[:, None], 3).item() < 0.6
    assert clipping.least_weight_error(torch.tensor([[[7.0, -7.0, 1.0, 4.0]]]), 4).item() == 1.0


@pytest.mark.parametrize("count", [1, 4])
def test_parts_of_the_rows_give_what_all_at_once_give(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = torch.rand(10, 32, generator=torch.Generator().manual_seed(1))
    grouped, seen, residual = split(weight_of(6, 32), count), split(inputs, count), torch.zeros(6, 10)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        return clipping.least_weight_error(grouped, 3), clipping.least_output_error(grouped, 3, seen, residual)

    at_once = both()
    monkeypatch.setattr(clipping, "WEIGHTS_AT_ONCE", 40)
    monkeypatch.setattr(clipping, "OUTPUT_WEIGHTS_AT_ONCE", 40)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(both(), at_once, strict=True))


def test_behind_relu_a_shift_of_the_output_is_avoided_that_the_weight_error_does_not_see() -> None:
    weight = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))
    inputs = torch.rand(2, 200, 1024, generator=torch.Generator().manual_seed(1))
    form, grouped = IntN(3, 32), split(weight, 32)
    of_weights = clipping.least_weight_error(grouped, 3)
    of_outputs = clipping.least_output_error(grouped, 3, split(inputs[0], 32), torch.zeros(64, 200))
    weights, outputs = (
        float((error_of(form, weight, ratio) @ inputs[1].T).norm()) for ratio in (of_weights, of_outputs)
    )
    assert outputs < 0.5 * weights
