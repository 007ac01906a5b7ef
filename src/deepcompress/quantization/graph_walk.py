"""What the layers of a network with shortcuts see, as it is and with the layers before them rounded.

Such a network cannot be cut into steps, so it runs again, as far as the layer, for every layer whose inputs are
wanted. Only the drawn vectors are kept.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization.layer_inputs import Seen, places, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jaxtyping import Float, Int
    from torch import Tensor

    Layer = nn.Conv2d | nn.Linear


@torch.no_grad()
def walk(
    model: nn.Module,
    images: Sequence[Float[Tensor, "batch 3 height width"]],
    rounded: Callable[[str, Seen | None], Tensor],
    *,
    inputs: int,
    generator: torch.Generator,
) -> None:
    """Go through a network layer by layer, each being rounded as soon as its inputs are known.

    Args:
        model: In evaluation mode; not changed.
        images: Batches.
        rounded: As in `calibration.walk`.
        inputs: Vectors per layer.
        generator: Draws the places that they come from.
    """
    true = _true(model, images, -(-inputs // len(images)), generator)
    other = copy.deepcopy(model)
    layers = prunable_layers(other)
    for name, (drawn, found) in true.items():
        layer = layers[name]
        seen = None
        if not grouped(layer):
            now = [_vectors_at(other, layer, batch, at) for batch, at in zip(images, drawn, strict=True)]
            seen = Seen(torch.cat(found)[:inputs], torch.cat(now)[:inputs])
        layer.weight.copy_(rounded(name, seen))


def grouped(layer: Layer) -> bool:
    """Whether a layer's outputs see different inputs, as in a depthwise convolution."""
    return isinstance(layer, nn.Conv2d) and layer.groups > 1


def _true(
    model: nn.Module, images: Sequence[Tensor], share: int, generator: torch.Generator
) -> dict[str, tuple[list[Int[Tensor, " drawn"]], list[Float[Tensor, "drawn size"]]]]:
    """Per layer, in the order in which they run, the places that were drawn in each batch and the vectors there."""
    found: dict[str, tuple[list[Tensor], list[Tensor]]] = {}

    def look(name: str) -> Callable[..., None]:
        def hook(layer: Any, inputs: tuple[Tensor, ...]) -> None:
            drawn, seen = found.setdefault(name, ([], []))
            if not grouped(layer):
                drawn.append(places(layer, inputs[0], share, generator))
                seen.append(vectors(layer, inputs[0], drawn[-1]).float().cpu())

        return hook

    handles = [layer.register_forward_pre_hook(look(name)) for name, layer in prunable_layers(model).items()]
    try:
        for batch in images:
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


class _Reached(Exception):  # noqa: N818 (no error)
    """Ends a forward pass whose rest nobody needs."""


def _vectors_at(model: nn.Module, layer: Layer, images: Tensor, drawn: Tensor) -> Float[Tensor, "drawn size"]:
    with _stopped_at(layer) as seen, suppress(_Reached):
        model(images)
    return vectors(layer, seen[0], drawn).float().cpu()


@contextmanager
def _stopped_at(layer: Layer) -> Iterator[list[Tensor]]:
    """A list for the layer's input, behind which a forward pass ends by _Reached."""
    seen: list[Tensor] = []

    def hook(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])
        raise _Reached

    handle = layer.register_forward_pre_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()
