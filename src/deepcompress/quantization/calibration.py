"""What the layers of a model see for some training images: as it is, and with the layers before them quantized.

A layer's inputs are the vectors that it multiplies its weights with: the rows of a linear layer's input, the patches of
a convolution's. Some are drawn, at the same places in both models.
"""

from __future__ import annotations

import copy
import dataclasses
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from jaxtyping import Float, Int
    from torch import Tensor

    from deepcompress.data.batches import Batches
    from deepcompress.models.vgg import Classifier

    QuantizeLayer: TypeAlias = "Callable[[str, CalibrationInputs | None], Tensor]"

Layer = nn.Conv2d | nn.Linear


@dataclasses.dataclass(frozen=True)
class CalibrationInputs:
    """Some input vectors of one layer, in the order of its weights, on the CPU.

    Attributes:
        float: What the layer gets in the model as it is.
        quantized: What it gets at the same places when the layers before it are quantized.
    """

    float: Float[Tensor, "inputs size"]
    quantized: Float[Tensor, "inputs size"]


@torch.no_grad()
def walk(model: Classifier, batches: Batches, quantize_layer: QuantizeLayer, *, inputs: int, seed: int) -> None:
    """Go through a model layer by layer, with each layer quantized as soon as its inputs are known.

    Args:
        model: In evaluation mode, on the device of the batches; not changed.
        batches: In the stored order.
        quantize_layer: Takes a layer's name and inputs, and gives its quantized weight in float32; None for the inputs
            of a convolution in groups, whose outputs see different ones, or with dilation or padding of another kind.
        inputs: Vectors per layer; a linear layer has no more than images, or tokens of them.
        seed: Draws the places of a map that a convolution's vectors come from.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "calibration places"))
    images = [batch.images for batch in batches.epoch(0)]
    per_batch = -(-inputs // len(images))
    if isinstance(model, VGG):
        _walk_chain(model, images, quantize_layer, inputs, per_batch, generator)
    else:
        _walk_graph(model, images, quantize_layer, inputs, per_batch, generator)


def _walk_chain(
    model: VGG, images: list[Tensor], quantize_layer: QuantizeLayer, inputs: int, per_batch: int, generator: Any
) -> None:
    """The outputs of one layer are kept for all images, twice: at 224 px and full width 26 MB an image at most."""
    floats = quantized = images
    for name, step in steps(model):
        if isinstance(step, Layer):
            drawn = [places(step, value, per_batch, generator) for value in floats]
            seen = [
                torch.cat([vectors(step, value, at) for value, at in zip(values, drawn, strict=True)])[:inputs]
                for values in (floats, quantized)
            ]
            weight = quantize_layer(name, CalibrationInputs(*seen)).to(step.weight.device)
            parts = {**dict(step.named_parameters()), "weight": weight}
            quantized = [torch.func.functional_call(step, parts, (value,)) for value in quantized]
            floats = [step(value) for value in floats]
        else:
            same = quantized is floats
            floats = [step(value) for value in floats]
            quantized = floats if same else [step(value) for value in quantized]


def steps(model: VGG) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """The modules of a VGG in forward order, with their names; what flattens the map has none."""
    for name, module in model.features.named_children():
        yield f"features.{name}", module
    yield "", lambda maps: torch.flatten(model.avgpool(maps), 1)
    for name, module in model.classifier.named_children():
        yield f"classifier.{name}", module


def _walk_graph(
    model: nn.Module, images: list[Tensor], quantize_layer: QuantizeLayer, inputs: int, per_batch: int, generator: Any
) -> None:
    """A network with shortcuts cannot be cut into steps, so it runs again, as far as the layer, for every layer."""
    floats = _float_inputs(model, images, per_batch, generator)
    quantized_model = copy.deepcopy(model)
    layers = prunable_layers(quantized_model)
    for name, (drawn, seen) in floats.items():
        layer, known = layers[name], None
        if _is_plain(layer):
            now = [_vectors_at(quantized_model, layer, batch, at) for batch, at in zip(images, drawn, strict=True)]
            known = CalibrationInputs(torch.cat(seen)[:inputs], torch.cat(now)[:inputs])
        layer.weight.copy_(quantize_layer(name, known))


def _is_plain(layer: Layer) -> bool:
    """Whether all outputs see the same vectors, and these are those that `vectors` gives."""
    if isinstance(layer, nn.Linear):
        return True
    padded = not isinstance(layer.padding, str) and layer.padding_mode == "zeros"
    return layer.groups == 1 and set(layer.dilation) == {1} and padded


def _float_inputs(
    model: nn.Module, images: list[Tensor], per_batch: int, generator: torch.Generator
) -> dict[str, tuple[list[Int[Tensor, " drawn"]], list[Float[Tensor, "drawn size"]]]]:
    """Per layer, in the order in which they run, the places that were drawn in each batch and the vectors there."""
    seen: dict[str, tuple[list[Tensor], list[Tensor]]] = {}

    def hook_of(name: str) -> Callable[..., None]:
        def hook(layer: Any, values: tuple[Tensor, ...]) -> None:
            drawn, there = seen.setdefault(name, ([], []))
            if _is_plain(layer):
                drawn.append(places(layer, values[0], per_batch, generator))
                there.append(vectors(layer, values[0], drawn[-1]))

        return hook

    with ExitStack() as hooks:
        for name, layer in prunable_layers(model).items():
            hooks.enter_context(layer.register_forward_pre_hook(hook_of(name)))
        for batch in images:
            model(batch)
    return seen


class _Reached(Exception):  # noqa: N818 (no error)
    """Ends a forward pass whose rest nobody needs."""


def _vectors_at(model: nn.Module, layer: Layer, images: Tensor, drawn: Tensor) -> Float[Tensor, "drawn size"]:
    values: list[Tensor] = []

    def hook(_: Any, given: tuple[Tensor, ...]) -> None:
        values.append(given[0])
        raise _Reached

    with layer.register_forward_pre_hook(hook), suppress(_Reached):
        model(images)
    return vectors(layer, values[0], drawn)


def places(layer: Layer, value: Float[Tensor, "batch ..."], wanted: int, generator: torch.Generator) -> Tensor:
    """Draw some of the vectors that a layer multiplies its weights with, without replacement: their numbers."""
    count = value[..., 0].numel() if isinstance(layer, nn.Linear) else _patches(layer, value)[:, 0, ..., 0, 0].numel()
    return torch.randperm(count, generator=generator)[:wanted]


def vectors(layer: Layer, value: Float[Tensor, "batch ..."], drawn: Tensor) -> Float[Tensor, "drawn size"]:
    """The vectors at some places of a layer's input, in the order of its weights; float32, on the CPU.

    Args:
        layer: See `_is_plain`; a linear layer's input may be tokens, (batch, tokens, size).
        value: Its input.
        drawn: Numbers of `places`.
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
