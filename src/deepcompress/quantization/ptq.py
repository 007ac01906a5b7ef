"""Quantize after training: choose scales and integers layer by layer, the layers below being rounded already.

Scales are searched first (`clipping`), as rounding to nearest would have them; then come the integers (`rounding`):

- `nearest`: each weight's own nearest multiple of its scale.
- `gptq`: integers of a layer chosen together, so that their errors cancel in its outputs; see gptq.py.
- `auto`: per layer, of these two the one with less error on inputs that neither has seen.

Source: reconstructing one layer after another from rounded inputs: Nagel et al., ICML 2020,
https://arxiv.org/abs/2004.10568, who learn how to round.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from deepcompress.data.batches import Batches
from deepcompress.data.store import sampled
from deepcompress.errors import UserError
from deepcompress.measure.accuracy import evaluating
from deepcompress.models.quantized_weight import QuantizedWeight, rows, split, unclipped_scales
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import calibration, clipping, gptq
from deepcompress.quantization.format import dequantize
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jaxtyping import Float
    from torch import Tensor, nn

    from deepcompress.models.vgg import Classifier
    from deepcompress.quantization.calibration import CalibrationInputs
    from deepcompress.quantization.format import ClipRatio, Format, Quantized
    from deepcompress.quantization.settings import Calibration, Clipping, QuantOptions, Rounding
    from deepcompress.training.run import TrainingRun

log = logging.getLogger(__name__)
ERROR_FEEDBACK = 0.5
"""The share of the error from the layers below that a layer tries to make good. All of it fits the calibration
images rather than the model: at width 0.5 on CIFAR-100, int4 in groups of 32 rounded to nearest, the relative error of
the logits of validation images is 0.10 with none, 0.08 with half and 0.23 with all of it."""
HELD_BACK = 4
"""One input vector of so many is held back to choose the rounding by."""


def quantize(
    model: Classifier,
    formats: Mapping[str, Format],
    data: TrainingRun,
    options: QuantOptions,
    images: Calibration | None,
    *,
    seed: int,
) -> dict[str, Quantized]:
    """Quantize the weight of each layer.

    Args:
        model: On the device to compute on; not changed.
        formats: Of its layers.
        data: Training images, some of which are looked at if the options ask for it.
        options: How scales and integers are chosen.
        images: How many; None: no image is looked at.
        seed: Draws them.

    Raises:
        UserError: If a weight or what a layer sees is not finite.
    """
    weights = prunable_layers(model)
    if images is None or not any(form.groups(weights[name].weight) for name, form in formats.items()):
        return without_images(model, formats, options.clipping)
    arrays = sampled(data.images.train, images.samples, derived_seed(seed, "calibration images"))
    device = next(model.parameters()).device
    batches = Batches(arrays, data.view, batch_size=images.batch_size, device=device)  # as in a test: nothing is random
    chosen: Any = {"clipping": options.clipping, "rounding": options.rounding}
    return from_images(model, formats, batches, inputs=images.inputs, seed=seed, **chosen)


def without_images(model: nn.Module, formats: Mapping[str, Format], scales: Clipping = "none") -> dict[str, Quantized]:
    """Round every weight to nearest.

    Args:
        model: On any device; not changed.
        formats: Of its layers.
        scales: `weight_error`; all else clips nothing.

    Raises:
        UserError: If a weight is not finite.
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
    """Quantize each layer by what it sees and gives, the layers below being quantized too.

    Args:
        model: On the device of the batches; not changed.
        formats: Of its layers.
        batches: Training images, in the stored order.
        inputs: Input vectors per layer.
        seed: Draws them.
        clipping: How scales are chosen.
        rounding: How integers are chosen.

    Raises:
        UserError: If a weight or what a layer sees is not finite.
    """
    weights = dict(_weights(model, formats))
    quantized: dict[str, Quantized] = {}
    together = 0

    def quantize_layer(name: str, seen: CalibrationInputs | None) -> Tensor:
        nonlocal together
        weight, form = weights[name], formats[name]
        if seen is None or not form.groups(weight):  # without inputs nothing is clipped
            quantized[name] = form.quantize(weight)
        else:
            layer = _Layer.of(name, weight, form, seen)
            quantized[name], is_gptq = layer.quantize(clipping, rounding)
            together += is_gptq
        return dequantize(quantized[name])

    with evaluating(model):
        calibration.walk(model, batches, quantize_layer, inputs=inputs, seed=seed)
    if rounding == "auto":
        log.info("quant.rounding: gptq in %d of %d layers, nearest in the others", together, len(weights))
    return quantized


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

    @classmethod
    def of(cls, name: str, weight: Tensor, form: Format, seen: CalibrationInputs) -> _Layer:
        residual = ERROR_FEEDBACK * (rows(weight) @ (seen.quantized - seen.float).T)
        if not torch.isfinite(residual).all():
            raise UserError(f"what {name} sees for the calibration images holds NaN or infinity")
        return cls(weight, form, seen.quantized, residual)

    def quantize(self, scales: Clipping, rounding: Rounding) -> tuple[Quantized, bool]:
        """The quantized weight, and whether GPTQ rounded it."""
        size = self.inputs.shape[1]
        if rounding == "nearest" or size > gptq.LONGEST_ROW:
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
            ratio = clipping.least_output_error(grouped, self.form.bits, inputs, self.residual)
        else:
            ratio = _ratio(self.weight, self.form, scales)
        quantized = self.form.quantize(self.weight, ratio)
        assert isinstance(quantized, QuantizedWeight)
        return quantized

    def _gptq(self, start: QuantizedWeight) -> QuantizedWeight:
        bits = start.bits
        codes, scales = gptq.solve(rows(self.weight), start.scales, bits, self.inputs, self.residual)
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
    return clipping.least_weight_error(split(rows(weight), count), form.bits)


def _weights(model: nn.Module, formats: Mapping[str, Format]) -> Iterator[tuple[str, Tensor]]:
    """Weights by layer, on the CPU.

    Raises:
        UserError: If one is not finite.
    """
    layers = prunable_layers(model)
    for name in formats:
        weight = layers[name].weight.detach().cpu().contiguous()
        if not torch.isfinite(weight).all():
            raise UserError(f"the weight of {name} holds NaN or infinity, which no format can round")
        yield name, weight
