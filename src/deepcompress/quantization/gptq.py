"""Choose the integers of a layer together, so that their errors cancel in its outputs, instead of one by one.

The output error of a row of weights w, rounded to q, is (q - t) H (q - t)' up to a constant, with H = X'X / n the
second moment of the layer's inputs and t = w - (R X / n) inv(H) what makes good the residual R of the layers below.
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

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress.models.quantized_weight import group_size, stored_scales

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float16, Float32, Float64, Int8
    from torch import Tensor

    Row = Float64[np.ndarray, " outputs"]
    Codes = Float64[np.ndarray, "inputs outputs"]
    Steps = Float64[np.ndarray, "groups outputs"]

DAMPING = 0.01
"""Of the mean of H's diagonal, added to it: the paper's value."""
PASSES = 3
BLOCK = 32  # columns whose steps are done before the product with all others
LONGEST_ROW = 8192
"""Weights per output above which a layer is rounded to nearest: H would take more than half a GiB."""


def solve(
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
    codes = _gptq(problem, steps, factor)
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


def _gptq(problem: _Problem, steps: Steps, factor: Float64[Tensor, "inputs inputs"]) -> Codes:
    """Algorithm 1: each row's rounding error, over its diagonal element, is taken from the rows behind it."""
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
