"""Quantize after training: round to nearest, on scales whose clipping is searched.

A search on the output error, layer by layer with the layers below already rounded, is the default. Top-1 on
validation images [%] after rounding all layers, on a VGG-11 with batch norm of width 0.5 (CIFAR-100, n = 2000,
57.45 in float32) and on one of width 0.25 (24 drawn shapes, n = 500, 96.4), by what the search looks at:

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

Source: reconstructing one layer after another from rounded inputs: Nagel et al., ICML 2020,
https://arxiv.org/abs/2004.10568, who learn how to round; here each scale is searched, and what is quantized stays.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from deepcompress.errors import UserError
from deepcompress.measure.accuracy import evaluating
from deepcompress.models.quantized_weight import round_, rows, split, stored_scales, unclipped_scales
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import calibration
from deepcompress.quantization.format import dequantize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jaxtyping import Float
    from torch import Tensor, nn

    from deepcompress.data.batches import Batches
    from deepcompress.models.vgg import Classifier
    from deepcompress.quantization.calibration import CalibrationInputs
    from deepcompress.quantization.format import ClipRatio, Format, Quantized
    from deepcompress.quantization.settings import Calibration
    from deepcompress.training.run import TrainingRun

TRIALS = 16
ERROR_FEEDBACK = 0.5
"""The share of the error from the layers below that a layer tries to make good. All of it fits the calibration
images rather than the model: at width 0.5 on CIFAR-100, int4 in groups of 32, the relative error of the logits of
validation images is 0.10 with none, 0.08 with half and 0.23 with all of it."""
WEIGHTS_AT_ONCE = 2**16  # so that one group's trials stay in the processor's cache
OUTPUT_WEIGHTS_AT_ONCE = 2**19  # fewer would starve the matrix product


def clip_ratios(
    model: Classifier,
    formats: Mapping[str, Format],
    data: TrainingRun,
    clipping: str,
    chosen: Calibration | None,
    *,
    seed: int,
) -> dict[str, ClipRatio]:
    """How far below the finest scale that clips nothing each scale is to lie, per layer.

    Args:
        model: On the device to compute on; not changed.
        formats: Of its layers.
        data: Training images, of which `output_error` looks at some.
        clipping: `none`, `weight_error` or `output_error`.
        chosen: How many images; None: `output_error` is not asked for.
        seed: Draws them.

    Raises:
        UserError: If a weight is not finite.
    """
    if clipping == "weight_error":
        return by_weight_error(model, formats)
    layers = prunable_layers(model)
    if clipping == "none" or chosen is None or not any(form.groups(layers[n].weight) for n, form in formats.items()):
        return dict.fromkeys(formats)
    images = calibration.batches(
        data.images.train,
        data.view,
        samples=chosen.samples,
        batch_size=chosen.batch_size,
        device=next(model.parameters()).device,
        seed=seed,
    )
    return by_output_error(model, formats, images, inputs=chosen.inputs, seed=seed)


def by_weight_error(model: nn.Module, formats: Mapping[str, Format]) -> dict[str, ClipRatio]:
    """The ratios that change the weights least, per layer; None where a format has no scales.

    Args:
        model: On any device; not changed.
        formats: Of its layers.

    Raises:
        UserError: If a weight is not finite.
    """
    ratios: dict[str, ClipRatio] = {}
    for name, weight in _weights(model, formats).items():
        count = formats[name].groups(weight)
        ratios[name] = least_weight_error(split(rows(weight), count), formats[name].bits) if count else None
    return ratios


def by_output_error(
    model: Classifier, formats: Mapping[str, Format], batches: Batches, *, inputs: int, seed: int
) -> dict[str, ClipRatio]:
    """The ratios that change each layer's output least, the layers below being rounded too.

    Args:
        model: On the device of the batches; not changed.
        formats: Of its layers.
        batches: Training images; see `calibration.batches`.
        inputs: Input vectors per layer.
        seed: Draws them.

    Returns:
        As `by_weight_error`.

    Raises:
        UserError: If a weight is not finite.
    """
    weights = _weights(model, formats)
    ratios: dict[str, ClipRatio] = dict.fromkeys(formats)

    def quantize_layer(name: str, seen: CalibrationInputs | None) -> Tensor:
        weight, form = weights[name], formats[name]
        count = form.groups(weight)
        if count and seen is not None:  # without inputs nothing is clipped
            residual = ERROR_FEEDBACK * (rows(weight) @ (seen.quantized - seen.float).T)
            grouped, grouped_inputs = split(rows(weight), count), split(seen.quantized, count)
            ratios[name] = least_output_error(grouped, form.bits, grouped_inputs, residual)
        return dequantize(form.quantize(weight, ratios[name]))

    with evaluating(model):
        calibration.walk(model, batches, quantize_layer, inputs=inputs, seed=seed)
    return ratios


@torch.no_grad()
def quantize_weights_(
    model: nn.Module, formats: Mapping[str, Format], ratios: Mapping[str, ClipRatio] | None = None
) -> dict[str, Quantized]:
    """Quantize every layer's weight, once: what is given goes into the file, and into the model in float32.

    Args:
        model: On the CPU.
        formats: Of its layers.
        ratios: As a search found them; None: nothing is clipped.

    Raises:
        UserError: If a weight is not finite.
    """
    layers = prunable_layers(model)
    quantized: dict[str, Quantized] = {}
    for name, weight in _weights(model, formats).items():
        quantized[name] = formats[name].quantize(weight, ratios[name] if ratios else None)
        layers[name].weight.copy_(dequantize(quantized[name]))
    return quantized


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


def _weights(model: nn.Module, formats: Mapping[str, Format]) -> dict[str, Tensor]:
    """Weights by layer, on the CPU.

    Raises:
        UserError: If one is not finite.
    """
    layers, weights = prunable_layers(model), {}
    for name in formats:
        weights[name] = layers[name].weight.detach().cpu().contiguous()
        if not torch.isfinite(weights[name]).all():
            raise UserError(f"the weight of {name} holds NaN or infinity, which no format can round")
    return weights
