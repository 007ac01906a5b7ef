"""Scales and integers of one layer, chosen by what they do to its weights or its outputs.

**Scales**, or how far each is to lie below the finest one that clips nothing: what rounding to nearest would change
least. A search on the output error, layer by layer with the layers below already rounded, is the default. Top-1 on
validation images [%] after rounding all layers to nearest, on a VGG-11 with batch norm of width 0.5 (CIFAR-100,
n = 2000, 57.45 in float32) and on one of width 0.25 (24 drawn shapes, n = 500, 96.4), by what the search looks at:

                            CIFAR-100                    shapes
                            nothing  weights  outputs    nothing  weights  outputs
    8 bits per channel      57.10    57.30    57.40      96.2     96.2     96.6
    4 bits, groups of 32    55.20    55.15    56.75      95.4     93.6     95.6
    3 bits, groups of 32    45.65    35.90    55.80      94.6     40.6     95.6
    4 bits per channel      53.85    53.80    56.40      94.2     89.8     95.6
    2 bits, groups of 32     8.35     2.70    52.45      52.2      5.2     89.8

The search on the weight error reaches the smallest error of weights (4 bits, groups of 32, CIFAR-100: 0.087 against
0.092 for nothing and 0.096) and is worse than none all the same: it clips, and what is clipped has a bias that adds
up behind ReLU, from layer to layer. It needs no images.

**Integers** are chosen together, so that their errors cancel in the layer's outputs, instead of one by one. The output
error of a row of weights w, rounded to q, is (q - t) H (q - t)' up to a constant, with H = X'X / n the second moment of
the layer's inputs and t = w - (R X / n) inv(H) what makes good the residual R of the layers below.
GPTQ rounds column after column and shifts each error onto the columns yet to come, as far as H says that they can take
it. Then passes of coordinate descent go over all integers and scales again; each step lowers the error or leaves it.
GPTQ alone knows the columns to come as free, so it helps less where most of them are pruned; the passes mend that.

Zeros stay zeros, and their error goes to the others. Float64 throughout: ties must not hang on last digits.

Source: Frantar et al., GPTQ, ICLR 2023, https://arxiv.org/abs/2210.17323, algorithm 1 (columns in their stored order,
lazy updates of the columns behind a block); pruned columns as in Frantar and Alistarh, SparseGPT, ICML 2023,
https://arxiv.org/abs/2301.00774, algorithm 1; the target t as in Li et al., GPTAQ, ICML 2025,
https://arxiv.org/abs/2504.02692, here in closed form before rounding; the passes: Behdin et al., QuantEase, 2023,
https://arxiv.org/abs/2309.01885, algorithm 1, with scales as coordinates of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress.models.quantized_weight import group_size, round_, stored_scales, unclipped_scales

if TYPE_CHECKING:
    from jaxtyping import Float, Float16, Float32, Float64, Int8
    from torch import Tensor

    Row = Float64[np.ndarray, " outputs"]
    Codes = Float64[np.ndarray, "inputs outputs"]
    Steps = Float64[np.ndarray, "groups outputs"]

TRIALS = 16
WEIGHTS_AT_ONCE = 2**16  # so that one group's trials stay in the processor's cache
OUTPUT_WEIGHTS_AT_ONCE = 2**19  # fewer would starve the matrix product
DAMPING = 0.01
"""Of the mean of H's diagonal, added to it: the paper's value."""
PASSES = 3
BLOCK = 32  # columns whose steps are done before the product with all others
LONGEST_ROW = 8192
"""Weights per output above which a layer is rounded to nearest: H would take more than half a GiB."""


# Scales.


def least_weight_error(grouped: Float[Tensor, "outputs groups size"], bits: int) -> Float[Tensor, "outputs groups"]:
    """The clip ratio with the least squared error of the weights, group by group.

    Args:
        grouped: As `quantized_weight.split` gives it, on the CPU.
        bits: Of the integers, 2 to 8.
    """
    unclipped, best = unclipped_scales(grouped, bits), torch.ones(grouped.shape[:2])
    at_once = max(1, WEIGHTS_AT_ONCE // grouped[0].numel())
    with _one_thread():
        for weights, scales, out in _in_parts(at_once, grouped, unclipped, best):
            out.copy_(_best_ratios(weights, scales, bits, lambda rounding: rounding.square_().sum(2)))
    return best


def least_output_error(
    grouped: Float[Tensor, "outputs groups size"],
    bits: int,
    inputs: Float[Tensor, "samples groups size"],
    residual: Float[Tensor, "outputs samples"],
) -> Float[Tensor, "outputs groups"]:
    """The clip ratio with the least squared error of what the layer gives for some inputs.

    The groups of a row add up to one output, so they are searched one after the other, each against the error
    that those before it have left: a shift of the output that one group causes, another makes good.

    Args:
        grouped: As `quantized_weight.split` gives it, on the CPU.
        bits: Of the integers, 2 to 8.
        inputs: What the layer sees, in the order of its weights.
        residual: Error of the outputs before anything is rounded here: that of the layers below.
    """
    unclipped, best = unclipped_scales(grouped, bits), torch.ones(grouped.shape[:2])
    at_once = max(1, OUTPUT_WEIGHTS_AT_ONCE // grouped.shape[2])
    with _one_thread():
        for weights, scales, out, error in _in_parts(at_once, grouped, unclipped, best, residual):
            for group in range(grouped.shape[1]):
                chosen, seen = weights[:, group].contiguous(), inputs[:, group].T
                found = _best_ratios(chosen, scales[:, group], bits, _squared(seen, error))
                out[:, group] = found
                left = _error_(torch.empty_like(chosen), chosen, scales[:, group] * found, bits)
                error = torch.addmm(error, left, seen)
    return best


def trial_ratios(bits: int) -> list[float]:
    """What is tried, from 1 down in even steps: the fewer bits, the further.

    The end lies a little below the best ratio of normally distributed weights, 4000 to a group: 0.25 at 2 bits,
    0.5 at 3, 0.66 at 4, 0.95 at 7. Beyond it a search on few inputs finds only what fits these inputs.
    """
    lowest = (bits + 1) / 10 if bits > 2 else 0.17
    return [1 - (1 - lowest) * trial / (TRIALS - 1) for trial in range(TRIALS)]


def _best_ratios(
    weights: Float[Tensor, "outputs ... size"],
    scales: Float[Tensor, "outputs ..."],
    bits: int,
    squared: Callable[[Float[Tensor, "outputs ... size"]], Float[Tensor, "outputs ..."]],
) -> Float[Tensor, "outputs ..."]:
    """Of those tried, the ratio of each scale with the least of what `squared` makes of the rounding error."""
    best, least = torch.ones_like(scales), torch.full_like(scales, torch.inf)
    buffer = torch.empty_like(weights)
    for ratio in trial_ratios(bits):
        error = squared(_error_(buffer, weights, scales * ratio, bits))
        better = error < least
        best[better], least = ratio, torch.minimum(least, error)
    return best


def _squared(
    inputs: Float[Tensor, "size samples"], residual: Float[Tensor, "outputs samples"]
) -> Callable[[Float[Tensor, "outputs size"]], Float[Tensor, " outputs"]]:
    """A function from the rounding E of the weights to the squared error of each output, up to a constant.

    |residual + E X|^2 = |residual|^2 + E (X X') E' + 2 residual X' E' row by row: with more samples than weights in
    a group the two products with X are computed once and not for every trial.
    """
    if inputs.shape[0] >= inputs.shape[1]:
        return lambda rounding: torch.addmm(residual, rounding, inputs).square_().sum(1)
    products, twice = inputs @ inputs.T, 2 * residual @ inputs.T
    return lambda rounding: torch.addmm(twice, rounding, products).mul_(rounding).sum(1)


def _error_(buffer: Tensor, weights: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Rounded minus true weights, in the memory of `buffer`."""
    steps = stored_scales(scales).float()[..., None]
    # Where QuantizedWeight multiplies by 1 / step: they differ where a weight lies within a last digit of a tie.
    return round_(torch.div(weights, steps, out=buffer), bits).mul_(steps).sub_(weights)


@contextmanager
def _one_thread() -> Iterator[None]:
    """For a great many small operations: two threads that meet after each wait longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _in_parts(rows: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)


# Integers.


def gptq(
    weights: Float32[Tensor, "outputs inputs"],
    scales: Float16[Tensor, "outputs groups"],
    bits: int,
    inputs: Float32[Tensor, "samples inputs"],
    residual: Float32[Tensor, "outputs samples"],
) -> tuple[Int8[Tensor, "outputs inputs"], Float16[Tensor, "outputs groups"]]:
    """Integers and scales whose product with the inputs differs least from what the float weights give.

    Args:
        weights: Finite, on the CPU; what is zero stays zero.
        scales: To start from, as `quantized_weight.stored_scales` gives them.
        bits: Of the integers, 2 to 8.
        inputs: What the layer sees, in the order of its weights; finite.
        residual: Error of the outputs before anything is rounded here: that of the layers below.
    """
    moment = (inputs.T @ inputs).double() / len(inputs)
    moment.diagonal().add_(DAMPING * float(moment.diagonal().mean()) or 1.0)  # 1: all inputs are zero, nothing matters
    factor = torch.linalg.cholesky(moment)
    made_good = torch.cholesky_solve((residual @ inputs).T.double() / len(inputs), factor)
    problem = _Problem(
        target=(weights.T.double() - made_good).numpy(),
        kept=(weights != 0).T.double().contiguous().numpy(),
        moment=moment.numpy(),
        starts=range(0, weights.shape[1], group_size(weights.shape[1], scales.shape[1])),
        bits=bits,
    )
    steps = scales.T.double().contiguous().numpy()
    codes = _algorithm_1(problem, steps, factor)
    for _ in range(PASSES):
        steps = _descend_(problem, codes, steps)
    return torch.from_numpy(codes.T.astype(np.int8)), torch.from_numpy(steps.T.astype(np.float16))


@dataclass(frozen=True)
class _Problem:
    """What stays the same in all passes; a row here is a column of the weights, so that it lies together in memory.

    Of NumPy, whose calls on a row of some hundred numbers cost a fifth of torch's.
    """

    target: Float64[np.ndarray, "inputs outputs"]
    kept: Float64[np.ndarray, "inputs outputs"]  # 0 or 1
    moment: Float64[np.ndarray, "inputs inputs"]
    starts: range
    bits: int

    def groups(self) -> Iterator[tuple[int, int, int]]:
        """Number, start and end of each group."""
        for number, start in enumerate(self.starts):
            yield number, start, min(start + self.starts.step, len(self.target))

    def round_(self, wanted: Row, row: int) -> Row:
        """Of one row, over its steps: the codes, in place."""
        np.rint(wanted, out=wanted)
        np.maximum(wanted, -(2.0 ** (self.bits - 1)), out=wanted)
        np.minimum(wanted, 2.0 ** (self.bits - 1) - 1, out=wanted)
        return np.multiply(wanted, self.kept[row], out=wanted)


def _algorithm_1(problem: _Problem, steps: Steps, factor: Float64[Tensor, "inputs inputs"]) -> Codes:
    """Each row's rounding error, over its diagonal element, is taken from the rows behind it."""
    upper = torch.linalg.cholesky(torch.cholesky_inverse(factor), upper=True).numpy()
    lower, rest, codes = upper.T.copy(), problem.target.copy(), np.empty_like(problem.target)
    for number, first, last in problem.groups():
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            errors = np.empty_like(rest[start:end])
            for row in range(start, end):
                codes[row] = problem.round_(rest[row] / steps[number], row)
                errors[row - start] = (rest[row] - codes[row] * steps[number]) / upper[row, row]
                rest[row + 1 : end] -= upper[row, row + 1 : end, None] * errors[row - start]
            rest[end:] -= lower[end:, start:end] @ errors
    return codes


def _descend_(problem: _Problem, codes: Codes, steps: Steps) -> Steps:
    """One pass over all scales and codes, each set to its best value while the others stand; returns the scales."""
    steps, moment = steps.copy(), problem.moment
    error = codes * steps.repeat(problem.starts.step, 0)[: len(codes)] - problem.target
    for number, first, last in problem.groups():
        group = codes[first:last]
        slope = (group * (moment[first:last] @ error)).sum(0)
        curvature = (group * (moment[first:last, first:last] @ group)).sum(0)
        better = steps[number] - np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)
        stored = stored_scales(torch.from_numpy(better)).double().numpy()
        change = np.where((curvature > 0) & (better > 0), stored, steps[number])
        error[first:last] += group * (change - steps[number])
        steps[number] = change
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            gradient, block = moment[start:end] @ error, moment[start:end, start:end].copy()
            for row in range(start, end):
                here = row - start
                wanted = codes[row] * steps[number] - gradient[here] / block[here, here]
                code = problem.round_(wanted / steps[number], row)
                moved = (code - codes[row]) * steps[number]
                codes[row] = code
                error[row] += moved
                gradient[here + 1 :] += block[here, here + 1 :, None] * moved
    return steps
