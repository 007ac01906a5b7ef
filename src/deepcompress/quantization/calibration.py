"""What the layers of a model see for some training images: as it is, and with the layers below rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from deepcompress.data.batches import Batches
from deepcompress.data.store import sampled
from deepcompress.models.vgg import VGG
from deepcompress.quantization import graph_walk
from deepcompress.quantization.layer_inputs import Seen, places, vectors
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from deepcompress.data.batches import View
    from deepcompress.data.store import Arrays
    from deepcompress.models.classifier import Classifier


def batches(
    arrays: Arrays, view: View, *, samples: int, batch_size: int, device: torch.device | str, seed: int
) -> Batches:
    """Some training images, drawn without replacement, seen as in a test: nothing about them is random."""
    some = sampled(arrays, samples, derived_seed(seed, "calibration images"))
    return Batches(some, view, batch_size=batch_size, device=device)


@torch.no_grad()
def walk(
    model: Classifier, batches: Batches, rounded: Callable[[str, Seen | None], Tensor], *, inputs: int, seed: int
) -> None:
    """Go through a model layer by layer, with each layer rounded as soon as its inputs are known.

    The outputs of one layer are kept for all images, twice: at 224 px and full width 26 MB an image at most. A network
    that is no chain is run again for every layer: see graph_walk.py.

    Args:
        model: In evaluation mode, on the device of the batches; not changed.
        batches: In the stored order.
        rounded: Takes a layer's name and inputs, and gives its rounded weight; None for the inputs of a convolution in
            groups, whose outputs see different ones.
        inputs: Vectors per layer; a linear layer has no more than images.
        seed: Draws the places of a map that a convolution's vectors come from.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "calibration places"))
    true = [batch.images for batch in batches.epoch(0)]
    if not isinstance(model, VGG):
        return graph_walk.walk(model, true, rounded, inputs=inputs, generator=generator)
    other = true
    for name, step in steps(model):
        if isinstance(step, (nn.Conv2d, nn.Linear)):
            weight = rounded(name, _seen(step, true, other, inputs, generator)).to(step.weight.device)
            parts = {**dict(step.named_parameters()), "weight": weight}
            other = [torch.func.functional_call(step, parts, (value,)) for value in other]
            true = [step(value) for value in true]
        else:
            same = other is true
            true = [step(value) for value in true]
            other = true if same else [step(value) for value in other]


def steps(model: VGG) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """The modules of a VGG in forward order, with their names; what flattens the map has none."""
    for name, module in model.features.named_children():
        yield f"features.{name}", module
    yield "", lambda maps: torch.flatten(model.avgpool(maps), 1)
    for name, module in model.classifier.named_children():
        yield f"classifier.{name}", module


def _seen(
    layer: nn.Conv2d | nn.Linear, true: list[Tensor], other: list[Tensor], inputs: int, generator: torch.Generator
) -> Seen:
    share = -(-inputs // len(true))
    drawn = [places(layer, value, share, generator) for value in true]
    both = [
        torch.cat([vectors(layer, value, at).float().cpu() for value, at in zip(stream, drawn, strict=True)])[:inputs]
        for stream in (true, other)
    ]
    return Seen(*both)
