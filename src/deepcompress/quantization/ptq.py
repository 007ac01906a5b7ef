"""Quantize after training: choose scales and integers layer by layer, the layers below being rounded already.

Scales are searched first (`clipping`), as rounding to nearest would have them; then come the integers (`rounding`).
Both are in solvers.py.

- `nearest`: each weight's own nearest multiple of its scale.
- `gptq`: integers of a layer chosen together, so that their errors cancel in its outputs.
- `auto`: per layer, of these two the one with less error on inputs that neither has seen.

Source: reconstructing one layer after another from rounded inputs: Nagel et al., ICML 2020,
https://arxiv.org/abs/2004.10568, who learn how to round.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepcompress.data.batches import Batches
from deepcompress.data.store import sampled
from deepcompress.errors import UserError
from deepcompress.measure.accuracy import evaluating
from deepcompress.models.quantized_weight import QuantizedWeight, dequantize, rows, split, unclipped_scales
from deepcompress.models.vgg import VGG, Classifier, input_of, prunable_layers, steps
from deepcompress.quantization import solvers
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from deepcompress.models.quantized_weight import ClipRatio, Format, Quantized
    from deepcompress.quantization.settings import Clipping, Quant, Rounding, Task
    from deepcompress.training.run import TrainingRun

    Draw: TypeAlias = "Callable[[Layer, Tensor], Int[Tensor, ' drawn']]"
    Inputs: TypeAlias = Float[Tensor, "inputs size"]  # vectors in the order of a layer's weights, on the CPU

log = logging.getLogger(__name__)
Layer = nn.Conv2d | nn.Linear
ERROR_FEEDBACK = 0.5
"""The share of the error from the layers below that a layer tries to make good. All of it fits the calibration
images rather than the model: at width 0.5 on CIFAR-100, int4 in groups of 32 rounded to nearest, the relative error of
the logits of validation images is 0.10 with none, 0.08 with half and 0.23 with all of it."""
HELD_BACK = 4
"""One input vector of so many is held back to choose the rounding by."""
SQUARABLE = 30  # powers of two to both sides of 1 in which the largest input may lie as it is
FURTHEST = 100  # powers of two that it is moved by; float32 has 126


def quantize(
    model: Classifier, formats: Mapping[str, Format], data: TrainingRun, options: Quant | Task, *, seed: int
) -> dict[str, Quantized]:
    """Quantize the weight of each layer; a UserError if a weight or what a layer sees is not finite.

    Args:
        model: On the device to compute on; not changed.
        formats: Of its layers.
        data: Training images, some of which are looked at if the options ask for it.
        options: How scales and integers are chosen.
        seed: Draws the images.
    """
    weights, images = prunable_layers(model), options.calibration
    if images is None or not any(form.groups(weights[name].weight) for name, form in formats.items()):
        return without_images(model, formats, options.clipping)
    arrays = sampled(data.images.train, images.samples, derived_seed(seed, "calibration images"))
    device = next(model.parameters()).device
    batches = Batches(arrays, data.view, batch_size=images.batch_size, device=device)  # as in a test: nothing is random
    return from_images(
        model, formats, batches, inputs=images.inputs, seed=seed, clipping=options.clipping, rounding=options.rounding
    )


def without_images(model: nn.Module, formats: Mapping[str, Format], scales: Clipping = "none") -> dict[str, Quantized]:
    """Round every weight of a model on any device to nearest; scales but for `weight_error` clip nothing.

    Raises a UserError if a weight is not finite.
    """
    return {name: formats[name].quantize(w, _ratio(w, formats[name], scales)) for name, w in _weights(model, formats)}


def from_images(
    model: Classifier,
    formats: Mapping[str, Format],
    batches: Batches,
    *,
    inputs: int,
    seed: int,
    clipping: Clipping = "output_error",
    rounding: Rounding = "nearest",
) -> dict[str, Quantized]:
    """Quantize each layer by what it sees and gives, the layers below being quantized too; raises like `quantize`.

    Args:
        model: On the device of the batches; not changed.
        formats: Of its layers.
        batches: Training images, in the stored order.
        inputs: Input vectors per layer; drawn by the seed.
        clipping: How scales are chosen, and
        rounding: integers.
    """
    weights = dict(_weights(model, formats))
    quantized: dict[str, Quantized] = {}
    together = 0
    with evaluating(model):
        for name, seen in walk(model, batches, quantized, inputs=inputs, seed=seed):
            weight, form = weights[name], formats[name]
            if seen is None or not form.groups(weight):  # without inputs nothing is clipped
                quantized[name] = form.quantize(weight)
                continue
            floats, now = seen
            residual = ERROR_FEEDBACK * (rows(weight) @ (now - floats).T)
            if not torch.isfinite(residual).all():
                raise UserError(f"what {name} sees for the calibration images holds NaN or infinity")
            layer = _Layer(weight, form, *_squarable(now, residual))
            quantized[name], is_gptq = layer.quantize(clipping, rounding)
            together += is_gptq
    if rounding == "auto":
        log.info("quant.rounding: gptq in %d of %d layers, nearest in the others", together, len(weights))
    return quantized


def _squarable(inputs: Inputs, residual: Float[Tensor, "outputs samples"]) -> tuple[Inputs, Tensor]:
    """Inputs and residual as they are, or where squares could leave the range of float32 both times a power of two.

    A common factor changes nothing of which scales and integers are best.
    """
    exponent = math.frexp(float(inputs.abs().max()))[1]
    if abs(exponent) <= SQUARABLE:
        return inputs, residual
    factor = 2.0 ** max(-FURTHEST, min(FURTHEST, -exponent))
    return inputs * factor, residual * factor


@torch.no_grad()
def assign_(model: nn.Module, quantized: Mapping[str, Quantized]) -> None:
    """Give a model on the CPU the weights that a file would hold, in float32."""
    layers = prunable_layers(model)
    for name, weight in quantized.items():
        layers[name].weight.copy_(dequantize(weight))


@dataclass(frozen=True)
class _Layer:
    """A layer to quantize by its outputs: weight, format, what it sees, and the error that it is to make good."""

    weight: Float[Tensor, "outputs ..."]
    form: Format
    inputs: Float[Tensor, "samples size"]
    residual: Float[Tensor, "outputs samples"]

    def quantize(self, scales: Clipping, rounding: Rounding) -> tuple[Quantized, bool]:
        """The quantized weight, and whether GPTQ rounded it."""
        size = self.inputs.shape[1]
        if rounding == "nearest" or size > solvers.LONGEST_ROW:
            return self._nearest(scales), False
        if rounding == "gptq" or len(self.inputs) < HELD_BACK:
            return self._gptq(self._nearest(scales)), True
        count = len(self.inputs) // HELD_BACK
        fit, held = self._part(slice(count, None)), self._part(slice(count))
        nearest = fit._nearest(scales)
        together = fit._gptq(nearest)
        better = held._error(together) < held._error(nearest)
        return (together if better else nearest), better

    def _part(self, samples: slice) -> _Layer:
        return _Layer(self.weight, self.form, self.inputs[samples], self.residual[:, samples])

    def _nearest(self, scales: Clipping) -> QuantizedWeight:
        ratio: ClipRatio
        if scales == "output_error":
            count = self.form.groups(self.weight)
            grouped, inputs = split(rows(self.weight), count), split(self.inputs, count)
            ratio = solvers.least_output_error(grouped, self.form.bits, inputs, self.residual)
        else:
            ratio = _ratio(self.weight, self.form, scales)
        quantized = self.form.quantize(self.weight, ratio)
        assert isinstance(quantized, QuantizedWeight)
        return quantized

    def _gptq(self, start: QuantizedWeight) -> QuantizedWeight:
        bits = start.bits
        codes, scales = solvers.gptq(rows(self.weight), start.scales, bits, self.inputs, self.residual)
        return QuantizedWeight(codes.view(self.weight.shape), scales, bits)

    def _error(self, quantized: Quantized) -> float:
        change = rows(dequantize(quantized)) - rows(self.weight)
        return float((self.residual + change @ self.inputs.T).double().square().sum())


def clip_ratio(weight: Float[Tensor, "outputs ..."], quantized: Quantized) -> ClipRatio:
    """Of each scale of a quantized weight to the finest that clips nothing; None where there are no scales."""
    if not isinstance(quantized, QuantizedWeight):
        return None
    scales = quantized.scales.float()
    return scales / unclipped_scales(split(rows(weight), scales.shape[1]), quantized.bits)


def _ratio(weight: Tensor, form: Format, scales: Clipping) -> ClipRatio:
    """What a search without images finds."""
    count = form.groups(weight)
    if scales != "weight_error" or not count:
        return None
    return solvers.least_weight_error(split(rows(weight), count), form.bits)


def _weights(model: nn.Module, formats: Mapping[str, Format]) -> Iterator[tuple[str, Tensor]]:
    """Weights by layer, on the CPU; a UserError if one is not finite."""
    layers = prunable_layers(model)
    for name in formats:
        weight = layers[name].weight.detach().cpu().contiguous()
        if not torch.isfinite(weight).all():
            raise UserError(f"the weight of {name} holds NaN or infinity, which no format can round")
        yield name, weight


# What the layers of a model see for some training images: as it is, and with the layers before them quantized.
#
# A layer's inputs are the vectors that it multiplies its weights with: the rows of a linear layer's input, the patches
# of a convolution's. Some are drawn, at the same places in both models.


@torch.no_grad()
def walk(
    model: Classifier, batches: Batches, quantized: Mapping[str, Quantized], *, inputs: int, seed: int
) -> Iterator[tuple[str, tuple[Inputs, Inputs] | None]]:
    """Go through a model layer by layer, with each layer quantized as soon as its inputs are known.

    Args:
        model: In evaluation mode, on the device of the batches; not changed.
        batches: In the stored order.
        quantized: Weights by layer; whoever goes through puts each in before asking for the next layer.
        inputs: Vectors per layer; a linear layer has no more than images, or tokens of them.
        seed: Draws the places of a map that a convolution's vectors come from.

    Yields:
        A layer's name, and what it gets in the model as it is and, at the same places, with the layers before it
        quantized; None for a convolution in groups, whose outputs see different inputs, or with dilation or padding of
        another kind.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "calibration places"))
    images = [batch.images for batch in batches.epoch(0)]
    per_batch = -(-inputs // len(images))
    draw = partial(places, wanted=per_batch, generator=generator)
    way: Any = _walk_chain if isinstance(model, VGG) else _walk_graph
    for name, floats, now in way(model, images, quantized, draw):
        yield name, None if floats is None else (floats[:inputs], now[:inputs])


def _walk_chain(
    model: VGG, images: list[Tensor], quantized: Mapping[str, Quantized], draw: Draw
) -> Iterator[tuple[str, Inputs | None, Inputs | None]]:
    """The outputs of one layer are kept for all images, twice: at 224 px and full width 26 MB an image at most."""
    floats = now = images
    for name, step in steps(model):
        if isinstance(step, Layer):
            drawn = [draw(step, value) for value in floats]
            yield name, _together(step, floats, drawn), _together(step, now, drawn)
            weight = dequantize(quantized[name]).to(step.weight.device)
            parts = {**dict(step.named_parameters()), "weight": weight}
            now = [torch.func.functional_call(step, parts, (value,)) for value in now]
            floats = [step(value) for value in floats]
        else:
            same = now is floats
            floats = [step(value) for value in floats]
            now = floats if same else [step(value) for value in now]


def _walk_graph(
    model: Classifier, images: list[Tensor], quantized: Mapping[str, Quantized], draw: Draw
) -> Iterator[tuple[str, Inputs | None, Inputs | None]]:
    """A network with shortcuts cannot be cut into steps, so it runs again, as far as the layer, for every layer."""
    floats, rounded = _float_inputs(model, images, draw), copy.deepcopy(model)
    layers = prunable_layers(rounded)
    for name, (drawn, seen) in floats.items():
        layer = layers[name]
        if drawn:
            yield name, torch.cat(seen), _together(layer, (input_of(rounded, layer, batch) for batch in images), drawn)
        else:  # it is not plain
            yield name, None, None
        layer.weight.copy_(dequantize(quantized[name]))


def _is_plain(layer: Layer) -> bool:
    """Whether all outputs see the same vectors, and these are those that `vectors` gives."""
    if isinstance(layer, nn.Linear):
        return True
    padded = not isinstance(layer.padding, str) and layer.padding_mode == "zeros"
    return layer.groups == 1 and set(layer.dilation) == {1} and padded


def _float_inputs(
    model: Classifier, images: list[Tensor], draw: Draw
) -> dict[str, tuple[list[Int[Tensor, " drawn"]], list[Float[Tensor, "drawn size"]]]]:
    """Per layer, in the order in which they run, the places that were drawn in each batch and the vectors there."""
    seen: dict[str, tuple[list[Tensor], list[Tensor]]] = {}

    def note(name: str, layer: Any, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        (value,), (drawn, there) = (*given, *named.values()), seen.setdefault(name, ([], []))
        if _is_plain(layer):
            drawn.append(draw(layer, value))
            there.append(vectors(layer, value, drawn[-1]))

    with ExitStack() as hooks:
        for name, layer in prunable_layers(model).items():
            hooks.enter_context(layer.register_forward_pre_hook(partial(note, name), with_kwargs=True))
        for batch in images:
            model(batch)
    return seen


def _together(layer: Layer, values: Iterable[Tensor], drawn: list[Tensor]) -> Float[Tensor, "drawn size"]:
    return torch.cat([vectors(layer, value, at) for value, at in zip(values, drawn, strict=True)])


def places(layer: Layer, value: Float[Tensor, "batch ..."], wanted: int, generator: torch.Generator) -> Tensor:
    """Draw some of the vectors that a layer multiplies its weights with, without replacement: their numbers."""
    count = value[..., 0].numel() if isinstance(layer, nn.Linear) else _patches(layer, value)[:, 0, ..., 0, 0].numel()
    return torch.randperm(count, generator=generator)[:wanted]


def vectors(layer: Layer, value: Float[Tensor, "batch ..."], drawn: Tensor) -> Float[Tensor, "drawn size"]:
    """The vectors at some of the `places` of a layer's input, in the order of its weights; float32, on the CPU.

    The layer is plain, see `_is_plain`; a linear one's input may be tokens, (batch, tokens, size).
    """
    drawn = drawn.to(value.device)
    if isinstance(layer, nn.Linear):
        return value.flatten(0, -2)[drawn].float().cpu()
    patches = _patches(layer, value)
    rows, columns = patches.shape[2:4]
    at = patches[drawn // (rows * columns), :, drawn // columns % rows, drawn % columns]
    return at.flatten(1).float().cpu()


def _patches(layer: nn.Conv2d, value: Tensor) -> Float[Tensor, "batch channels rows columns high wide"]:
    (down, right), (high, wide) = cast("tuple[int, int]", layer.padding), layer.kernel_size
    padded = F.pad(value, (right, right, down, down))
    return padded.unfold(2, high, layer.stride[0]).unfold(3, wide, layer.stride[1])
