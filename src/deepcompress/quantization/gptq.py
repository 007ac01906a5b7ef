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

import torch

from deepcompress.models.quantized_weight import group_size, round_, stored_scales

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float16, Float32, Float64, Int8
    from torch import Tensor

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
        target=weights.T.double() - made_good,
        kept=(weights != 0).T.contiguous(),
        moment=moment,
        starts=range(0, weights.shape[1], group_size(weights.shape[1], scales.shape[1])),
        bits=bits,
    )
    steps = scales.T.double()
    codes = _gptq(problem, steps, factor)
    for _ in range(PASSES):
        steps = _descend_(problem, codes, steps)
    return codes.T.to(torch.int8).contiguous(), steps.T.half().contiguous()


@dataclass(frozen=True)
class _Problem:
    """What stays the same in all passes; a row here is a column of the weights, so that it lies together in memory."""

    target: Float64[Tensor, "inputs outputs"]
    kept: Bool[Tensor, "inputs outputs"]
    moment: Float64[Tensor, "inputs inputs"]
    starts: range
    bits: int

    def groups(self) -> Iterator[tuple[int, int, int]]:
        """Number, start and end of each group."""
        for number, start in enumerate(self.starts):
            yield number, start, min(start + self.starts.step, len(self.target))

    def nearest(self, wanted: Tensor, step: Tensor, kept: Tensor) -> Tensor:
        """The codes of one row."""
        return round_(wanted / step, self.bits).mul_(kept)


def _gptq(problem: _Problem, steps: Float64[Tensor, "groups outputs"], factor: Tensor) -> Float64[Tensor, "i o"]:
    """Algorithm 1: each row's rounding error, over its diagonal element, is taken from the rows behind it."""
    upper = torch.linalg.cholesky(torch.cholesky_inverse(factor), upper=True)
    lower, rest, codes = upper.T.contiguous(), problem.target.clone(), torch.empty_like(problem.target)
    for number, first, last in problem.groups():
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            errors = torch.empty_like(rest[start:end])
            for row in range(start, end):
                codes[row] = problem.nearest(rest[row], steps[number], problem.kept[row])
                errors[row - start] = (rest[row] - codes[row] * steps[number]) / upper[row, row]
                rest[row + 1 : end].addr_(upper[row, row + 1 : end], errors[row - start], alpha=-1)
            rest[end:].addmm_(lower[end:, start:end], errors, alpha=-1)
    return codes


def _descend_(problem: _Problem, codes: Float64[Tensor, "i o"], steps: Float64[Tensor, "groups outputs"]) -> Tensor:
    """One pass over all scales and codes, each set to its best value while the others stand; returns the scales."""
    steps, moment = steps.clone(), problem.moment
    error = codes * steps.repeat_interleave(problem.starts.step, 0)[: len(codes)] - problem.target
    for number, first, last in problem.groups():
        group = codes[first:last]
        slope = (group * (moment[first:last] @ error)).sum(0)
        curvature = (group * (moment[first:last, first:last] @ group)).sum(0)
        better = steps[number] - slope / curvature
        change = torch.where((curvature > 0) & (better > 0), stored_scales(better).double(), steps[number])
        error[first:last].addcmul_(group, change - steps[number])
        steps[number] = change
        for start in range(first, last, BLOCK):
            end = min(start + BLOCK, last)
            gradient, block = moment[start:end] @ error, moment[start:end, start:end].contiguous()
            for row in range(start, end):
                here = row - start
                wanted = codes[row] * steps[number] - gradient[here] / block[here, here]
                code = problem.nearest(wanted, steps[number], problem.kept[row])
                moved = (code - codes[row]) * steps[number]
                codes[row] = code
                error[row] += moved
                gradient[here + 1 :].addr_(block[here, here + 1 :], moved)
    return steps
