"""Integers chosen together: GPTQ by the book, passes that never raise the error, zeros, and cases by hand."""

from __future__ import annotations

import pytest
import torch

from deepcompress.models.quantized_weight import QuantizedWeight, rows, scale_
from deepcompress.quantization import gptq


def problem(outputs: int, inputs: int, samples: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights, correlated inputs as ReLU gives them, and a residual."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(outputs, inputs, generator=generator)
    mixing = torch.randn(inputs // 2, inputs, generator=generator)
    seen = (torch.randn(samples, inputs // 2, generator=generator) @ mixing).relu()
    return weights, seen, torch.randn(outputs, samples, generator=generator)


def error(weights, quantized: QuantizedWeight, seen, residual) -> float:
    change = (quantized.dequantize() - weights).double()
    return float((residual.double() + change @ seen.double().T).square().sum())


def solved(weights, bits: int, size: int | None, seen, residual) -> tuple[QuantizedWeight, QuantizedWeight]:
    """Rounded to nearest, and by GPTQ from its scales."""
    nearest = QuantizedWeight.quantize(weights, bits, size)
    return nearest, QuantizedWeight(*gptq.solve(weights, nearest.scales, bits, seen, residual), bits)


def test_without_passes_the_codes_are_those_of_algorithm_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gptq, "PASSES", 0)
    monkeypatch.setattr(gptq, "BLOCK", 4)
    weights, seen, _ = problem(3, 10, 40)
    nearest, ours = solved(weights, 3, 5, seen, torch.zeros(3, 40))
    moment = (seen.T @ seen).double() / 40
    moment += gptq.DAMPING * moment.diagonal().mean() * torch.eye(10)
    rest, steps = weights.double(), torch.ones(3, 10)
    scale_(steps, nearest.scales.float())
    codes = torch.empty(3, 10)
    for column in range(10):  # the plain form: the inverse of what is left, anew for every column
        inverse = torch.linalg.inv(moment[column:, column:])
        codes[:, column] = (rest[:, column] / steps[:, column]).round().clamp(-4, 3)
        change = (rest[:, column] - codes[:, column] * steps[:, column]) / inverse[0, 0]
        rest[:, column:] -= change[:, None] * inverse[0]
    assert torch.equal(ours.codes.float(), codes)
    assert torch.equal(ours.scales, nearest.scales)


@pytest.mark.parametrize("size", [None, 7])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_output_error_falls_far_below_that_of_rounding_to_nearest(bits: int, size: int | None) -> None:
    weights, seen, residual = problem(16, 40, 200)
    nothing = torch.zeros_like(residual)
    nearest, ours = solved(weights, bits, size, seen, nothing)
    assert error(weights, ours, seen, nothing) < 0.6 * error(weights, nearest, seen, nothing)
    assert ours.codes.min() >= -(2 ** (bits - 1))
    assert ours.codes.max() <= 2 ** (bits - 1) - 1


def test_passes_lower_the_error_of_gptq(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, seen, residual = problem(16, 40, 200)
    errors = []
    for passes in (0, 1, 3):
        monkeypatch.setattr(gptq, "PASSES", passes)
        errors.append(error(weights, solved(weights, 2, None, seen, residual)[1], seen, residual))
    assert errors[2] < errors[1] < errors[0]


def test_zeros_stay_zeros_and_their_error_goes_to_the_others() -> None:
    weights, seen, residual = problem(16, 40, 200)
    weights[torch.rand(16, 40, generator=torch.Generator().manual_seed(1)) < 0.8] = 0
    weights[3] = 0  # a row without survivors
    nearest, ours = solved(weights, 3, None, seen, 0.1 * residual)
    assert (ours.codes[weights == 0] == 0).all()
    assert error(weights, ours, seen, 0.1 * residual) < 0.8 * error(weights, nearest, seen, 0.1 * residual)


def test_an_error_from_below_is_made_good_where_inputs_allow_it() -> None:
    weights, seen = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]] * 10)
    scales = torch.tensor([[0.5]]).half()
    codes, _ = gptq.solve(weights, scales, 4, seen, torch.tensor([[-1.0, 0.5] * 10]))
    assert codes.tolist() == [[4, 3]]


def test_one_sample_or_inputs_that_are_all_zero_leave_finite_scales() -> None:
    weights, seen, residual = problem(4, 10, 1)
    for inputs in (seen, torch.zeros_like(seen)):
        _, ours = solved(weights, 4, 5, inputs, residual)
        assert ours.dequantize().isfinite().all()
        assert rows(ours.codes).shape == (4, 10)
