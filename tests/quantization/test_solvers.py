"""Each search for scales equals trying every ratio; integers chosen together are GPTQ's by the book, and better."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.models.quantized_weight import QuantizedWeight, rows, scale_, split
from deepcompress.quantization import solvers
from deepcompress.quantization.formats import intn
from tests.nets import weight_of


def change_of(form: intn.IntN, weight: torch.Tensor, ratio: torch.Tensor | None) -> torch.Tensor:
    return form.quantize(weight, ratio).dequantize() - weight


@settings(max_examples=30, deadline=None)
@given(bits=st.integers(2, 8), size=st.sampled_from([None, 5, 16]), seed=st.integers(0, 2**31))
def test_the_least_weight_error_is_that_of_a_naive_loop(bits: int, size: int | None, seed: int) -> None:
    form, weight = intn.make(bits, size), weight_of((3, 37), seed) ** 3
    count = form.groups(weight)

    def squared(ratio: torch.Tensor) -> torch.Tensor:
        return split(change_of(form, weight, ratio).square(), count).sum(2)

    found = solvers.least_weight_error(split(weight, count), bits)
    tried = torch.stack([squared(torch.full_like(found, ratio)) for ratio in solvers.trial_ratios(bits)])
    largest = change_of(form, weight, None).abs().max() * weight.abs().max()
    within = 4 * torch.finfo(weight.dtype).eps * weight.shape[1] * float(largest)  # a sum of squares of differences
    torch.testing.assert_close(squared(found), tried.amin(0), rtol=1e-5, atol=within)


@settings(max_examples=20, deadline=None)
@given(bits=st.integers(2, 6), seed=st.integers(0, 2**31))
def test_with_one_group_the_output_error_is_the_least_of_all_ratios(bits: int, seed: int) -> None:
    weight, inputs = weight_of((4, 12), seed) ** 3, torch.rand(20, 12, generator=torch.Generator().manual_seed(seed))
    form, residual = intn.make(bits), torch.randn(4, 20, generator=torch.Generator().manual_seed(2)) * 0.1

    def squared(ratio: torch.Tensor) -> torch.Tensor:
        return (residual + change_of(form, weight, ratio) @ inputs.T).square().sum(1, keepdim=True)

    found = solvers.least_output_error(weight[:, None], bits, inputs[:, None], residual)
    tried = torch.stack([squared(torch.full((4, 1), ratio)) for ratio in solvers.trial_ratios(bits)])
    terms = residual.abs().max() + inputs.shape[1] * change_of(form, weight, None).abs().max()
    within = torch.finfo(weight.dtype).eps * weight.shape[1] * len(inputs) * terms.square()  # terms that may cancel
    assert (squared(found) <= squared(torch.ones(4, 1)) + within).all()
    assert (squared(found) >= tried.amin(0) - within).all()


@pytest.mark.parametrize("count", [1, 4])
def test_parts_of_the_rows_give_what_all_at_once_give(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = torch.rand(10, 32, generator=torch.Generator().manual_seed(1))
    grouped, seen, residual = split(weight_of((6, 32)) ** 3, count), split(inputs, count), torch.zeros(6, 10)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        return solvers.least_weight_error(grouped, 3), solvers.least_output_error(grouped, 3, seen, residual)

    at_once = both()
    monkeypatch.setattr(solvers, "WEIGHTS_AT_ONCE", 40)
    monkeypatch.setattr(solvers, "OUTPUT_WEIGHTS_AT_ONCE", 40)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(both(), at_once, strict=True))


def test_behind_relu_a_shift_of_the_output_is_avoided_that_the_weight_error_does_not_see() -> None:
    weight = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0))
    inputs = torch.rand(2, 200, 1024, generator=torch.Generator().manual_seed(1))
    form, grouped = intn.make(3, 32), split(weight, 32)
    of_weights = solvers.least_weight_error(grouped, 3)
    of_outputs = solvers.least_output_error(grouped, 3, split(inputs[0], 32), torch.zeros(64, 200))
    weights, outputs = (
        float((change_of(form, weight, ratio) @ inputs[1].T).norm()) for ratio in (of_weights, of_outputs)
    )
    assert outputs < 0.5 * weights


# Integers chosen together: GPTQ by the book, passes that never raise the error, zeros, and cases by hand.


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
    return nearest, QuantizedWeight(*solvers.gptq(weights, nearest.scales, bits, seen, residual), bits)


def test_without_passes_the_codes_are_those_of_algorithm_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "PASSES", 0)
    monkeypatch.setattr(solvers, "BLOCK", 4)
    weights, seen, _ = problem(3, 10, 40)
    nearest, ours = solved(weights, 3, 5, seen, torch.zeros(3, 40))
    moment = (seen.T @ seen).double() / 40
    moment += solvers.DAMPING * moment.diagonal().mean() * torch.eye(10)
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
        monkeypatch.setattr(solvers, "PASSES", passes)
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
    codes, _ = solvers.gptq(weights, scales, 4, seen, torch.tensor([[-1.0, 0.5] * 10]))
    assert codes.tolist() == [[4, 3]]


def test_one_sample_or_inputs_that_are_all_zero_leave_finite_scales() -> None:
    weights, seen, residual = problem(4, 10, 1)
    for inputs in (seen, torch.zeros_like(seen)):
        _, ours = solved(weights, 4, 5, inputs, residual)
        assert ours.dequantize().isfinite().all()
        assert rows(ours.codes).shape == (4, 10)
