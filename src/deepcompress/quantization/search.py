"""Find how much to shrink the scale of each group of weights: a coarser range clipped, a finer step everywhere.

Both searches try the same falling row of factors on the scale that clips nothing, each with the scale as
float16 stores it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from deepcompress.quantization import _torchao

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float
    from torch import Tensor

TRIALS = 16
WEIGHTS_AT_ONCE = 2**16  # so that one group's trials stay in the processor's cache
OUTPUT_WEIGHTS_AT_ONCE = 2**19  # fewer would starve the matrix product


def by_weight_error(grouped: Float[Tensor, "outputs groups size"], bits: int) -> Float[Tensor, "outputs groups"]:
    """The factor with the least squared error of the weights, group by group.

    Args:
        grouped: As `models.groups.split` gives it, on the CPU.
        bits: Of the integers, 2 to 8.
    """
    base, best = _torchao.scales(grouped, bits), torch.ones(grouped.shape[:2])
    at_once = max(1, WEIGHTS_AT_ONCE // grouped[0].numel())
    with _one_thread():
        for weights, scales, out in _in_parts(at_once, grouped, base, best):
            least, buffer = torch.full_like(scales, torch.inf), torch.empty_like(weights)
            for factor in factors(bits):
                error = _error_(buffer, weights, _stored(scales, factor), bits).square_().sum(2)
                better = error < least
                out[better], least = factor, torch.minimum(least, error)
    return best


def by_output_error(
    grouped: Float[Tensor, "outputs groups size"],
    bits: int,
    inputs: Float[Tensor, "samples groups size"],
    left: Float[Tensor, "outputs samples"],
) -> Float[Tensor, "outputs groups"]:
    """The factor with the least squared error of what the layer gives for some inputs.

    The groups of a row add up to one output, so they are settled one after the other, each against the error
    that those before it have left: a shift of the output that one group causes, another makes good.

    Args:
        grouped: As `models.groups.split` gives it, on the CPU.
        bits: Of the integers, 2 to 8.
        inputs: What the layer sees, in the order of its weights.
        left: Error of the outputs before anything is rounded here: that of the layers below.
    """
    base, best = _torchao.scales(grouped, bits), torch.ones(grouped.shape[:2])
    at_once = max(1, OUTPUT_WEIGHTS_AT_ONCE // grouped.shape[2])
    with _one_thread():
        for weights, scales, out, error in _in_parts(at_once, grouped, base, best, left):
            for group in range(grouped.shape[1]):
                cut, seen = weights[:, group].contiguous(), inputs[:, group].T
                out[:, group], error = _settled(cut, scales[:, group], bits, seen, error)
    return best


def factors(bits: int) -> list[float]:
    """What is tried, from 1 down in even steps: the fewer bits, the further.

    The end lies a little below the best factor of normally distributed weights, 4000 to a group: 0.25 at 2 bits,
    0.5 at 3, 0.66 at 4, 0.95 at 7. Beyond it a search on few inputs finds only what fits these inputs.
    """
    lowest = (bits + 1) / 10 if bits > 2 else 0.17
    return [1 - (1 - lowest) * trial / (TRIALS - 1) for trial in range(TRIALS)]


def _settled(
    weights: Float[Tensor, "outputs size"],
    scales: Float[Tensor, " outputs"],
    bits: int,
    inputs: Float[Tensor, "size samples"],
    left: Float[Tensor, "outputs samples"],
) -> tuple[Float[Tensor, " outputs"], Float[Tensor, "outputs samples"]]:
    """The factors of one group of each row, and the output error that is left with them."""
    best, least = torch.ones(len(weights)), torch.full((len(weights),), torch.inf)
    buffer, squared = torch.empty_like(weights), _squared(inputs, left)
    for factor in factors(bits):
        error = squared(_error_(buffer, weights, _stored(scales, factor), bits))
        better = error < least
        best[better], least = factor, torch.minimum(least, error)
    return best, torch.addmm(left, _error_(buffer, weights, _stored(scales, best), bits), inputs)


def _squared(
    inputs: Float[Tensor, "size samples"], left: Float[Tensor, "outputs samples"]
) -> Callable[[Float[Tensor, "outputs size"]], Float[Tensor, " outputs"]]:
    """A function from the rounding E of the weights to the squared error of each output, up to a constant.

    |left + E X|^2 = |left|^2 + E (X X') E' + 2 left X' E' row by row: with more samples than weights in a group the
    two products with X are computed once and not for every trial.
    """
    if inputs.shape[0] >= inputs.shape[1]:
        return lambda rounding: torch.addmm(left, rounding, inputs).square_().sum(1)
    products, twice = inputs @ inputs.T, 2 * left @ inputs.T
    return lambda rounding: torch.addmm(twice, rounding, products).mul_(rounding).sum(1)


def _error_(buffer: Tensor, weights: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Rounded minus true weights, in the memory of `buffer`."""
    lowest, steps = -(2.0 ** (bits - 1)), scales[..., None]
    return torch.div(weights, steps, out=buffer).round_().clamp_(lowest, -lowest - 1).mul_(steps).sub_(weights)


def _stored(scales: Tensor, factor: float | Tensor) -> Tensor:
    return (scales * factor).clamp_(min=_torchao.SMALLEST_SCALE).half().float()


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
