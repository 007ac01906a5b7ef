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

Source: reconstructing one layer after another from rounded inputs: Nagel et al., ICML 2020, https://arxiv.org/abs/2004.10568,
who learn how to round; here each scale is searched, and what is settled stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepcompress.errors import UserError
from deepcompress.measure.accuracy import evaluating
from deepcompress.models import groups
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import calibration, search

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from deepcompress.data.batches import Batches
    from deepcompress.models.classifier import Classifier
    from deepcompress.quantization.format import Format, Scales, Shrink
    from deepcompress.quantization.layer_inputs import Seen

MADE_GOOD = 0.5
"""The share of the error from the layers below that a layer tries to make good. All of it fits the calibration
images rather than the model: at width 0.5 on CIFAR-100, int4 in groups of 32, the relative error of the logits of
validation images is 0.10 with none, 0.08 with half and 0.23 with all of it."""


def by_weight_error(model: nn.Module, formats: Mapping[str, Format]) -> dict[str, Shrink]:
    """The shrinking of each scale that changes the weights least, per layer; None where a format has no scales.

    Args:
        model: On any device; not changed.
        formats: Of its layers.

    Raises:
        UserError: If a weight is not finite.
    """
    found: dict[str, Shrink] = {}
    for name, weight in _weights(model, formats).items():
        count = formats[name].groups(weight)
        split = groups.split(groups.rows(weight), count) if count else weight
        found[name] = search.by_weight_error(split, formats[name].bits) if count else None
    return found


def by_output_error(
    model: Classifier, formats: Mapping[str, Format], batches: Batches, *, inputs: int, seed: int
) -> dict[str, Shrink]:
    """The shrinking of each scale that changes each layer's output least, the layers below being rounded too.

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
    found: dict[str, Shrink] = {}

    def settle(name: str, seen: Seen | None) -> Tensor:
        weight, form = weights[name], formats[name]
        found[name], count = None, form.groups(weight)
        if count and seen is not None:  # without inputs nothing is clipped
            rows = groups.rows(weight)
            left = MADE_GOOD * (rows @ (seen.rounded - seen.true).T)
            split, cut = groups.split(rows, count), groups.split(seen.rounded, count)
            found[name] = search.by_output_error(split, form.bits, cut, left)
        return form.rounded(weight, form.scales(weight, found[name]))

    with evaluating(model):
        calibration.walk(model, batches, settle, inputs=inputs, seed=seed)
    return found


@torch.no_grad()
def round_(
    model: nn.Module, formats: Mapping[str, Format], shrinks: Mapping[str, Shrink] | None = None
) -> dict[str, Scales]:
    """Put rounded weights into a model, and give the scales that they are multiples of, per layer.

    Args:
        model: On the CPU.
        formats: Of its layers.
        shrinks: As a search found them; None: nothing is clipped.
    """
    layers = prunable_layers(model)
    scales: dict[str, Scales] = {}
    for name, weight in _weights(model, formats).items():
        form = formats[name]
        scales[name] = form.scales(weight, shrinks[name] if shrinks else None)
        layers[name].weight.copy_(form.rounded(weight, scales[name]))
    return scales


def _weights(model: nn.Module, formats: Mapping[str, Format]) -> dict[str, Tensor]:
    """Weights by layer, on the CPU.

    Raises:
        UserError: If one is not finite.
    """
    layers, found = prunable_layers(model), {}
    for name in formats:
        found[name] = layers[name].weight.detach().cpu().contiguous()
        if not torch.isfinite(found[name]).all():
            raise UserError(f"the weight of {name} holds NaN or infinity, which no format can round")
    return found
