"""How far below the finest scale that clips nothing each scale is to lie: what rounding to nearest would change least.

A search on the output error, layer by layer with the layers below already rounded, is the default. Top-1 on
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
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from deepcompress.models.quantized_weight import round_, stored_scales, unclipped_scales

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float
    from torch import Tensor

TRIALS = 16
WEIGHTS_AT_ONCE = 2**16  # so that one group's trials stay in the processor's cache
OUTPUT_WEIGHTS_AT_ONCE = 2**19  # fewer would starve the matrix product


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
            least, buffer = torch.full_like(scales, torch.inf), torch.empty_like(weights)
            for ratio in trial_ratios(bits):
                error = _error_(buffer, weights, scales * ratio, bits).square_().sum(2)
                better = error < least
                out[better], least = ratio, torch.minimum(least, error)
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
                out[:, group], error = _least_of_group(chosen, scales[:, group], bits, seen, error)
    return best


def trial_ratios(bits: int) -> list[float]:
    """What is tried, from 1 down in even steps: the fewer bits, the further.

    The end lies a little below the best ratio of normally distributed weights, 4000 to a group: 0.25 at 2 bits,
    0.5 at 3, 0.66 at 4, 0.95 at 7. Beyond it a search on few inputs finds only what fits these inputs.
    """
    lowest = (bits + 1) / 10 if bits > 2 else 0.17
    return [1 - (1 - lowest) * trial / (TRIALS - 1) for trial in range(TRIALS)]


def _least_of_group(
    weights: Float[Tensor, "outputs size"],
    scales: Float[Tensor, " outputs"],
    bits: int,
    inputs: Float[Tensor, "size samples"],
    residual: Float[Tensor, "outputs samples"],
) -> tuple[Float[Tensor, " outputs"], Float[Tensor, "outputs samples"]]:
    """The ratios of one group of each row, and the output error that is left with them."""
    best, least = torch.ones(len(weights)), torch.full((len(weights),), torch.inf)
    buffer, squared = torch.empty_like(weights), _squared(inputs, residual)
    for ratio in trial_ratios(bits):
        error = squared(_error_(buffer, weights, scales * ratio, bits))
        better = error < least
        best[better], least = ratio, torch.minimum(least, error)
    return best, torch.addmm(residual, _error_(buffer, weights, scales * best, bits), inputs)


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
