"""The blocks of a torchvision network, found by running it without data: a block is what runs at one size of map.

The names mean what they mean in a VGG (models/roles.py): maps in block 3 have a quarter of the image's side in both,
so that losses can match a VGG's `block4` with a ResNet's. Inner layers of a residual block have no name here, because
some are overwritten when the shortcut is added.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deepcompress.models import torchvision_nets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from deepcompress.models.torchvision_spec import TorchvisionSpec

HEADS = ("avgpool", "classifier", "fc")
FEATURES = "features"


def roles(spec: TorchvisionSpec) -> dict[str, str]:
    """Layer name of every role, in forward order: `block3` is the last layer whose maps have that size.

    The first blocks may be missing, since most networks halve the image at once; a side that is no half of the image's
    counts as the nearest one. `features` is the last layer before the classifier.
    """
    found: dict[str, str] = {}
    for name, side in layers(spec).items():
        found.pop(f"block{_block(spec.image_size, side)}", None)
        found[f"block{_block(spec.image_size, side)}"] = name
    return found | {FEATURES: name}


def layers(spec: TorchvisionSpec) -> dict[str, int]:
    """Side of the maps [px] that each layer gives, in forward order: those reached through nn.Sequential alone."""
    return dict(_layers(dataclasses.replace(spec, widths=())))


@functools.cache
def _layers(spec: TorchvisionSpec) -> tuple[tuple[str, int], ...]:
    with torch.device("meta"):
        model = torchvision_nets.build(spec).eval()
        image = torch.zeros(1, 3, spec.image_size, spec.image_size)
    found: list[tuple[str, int]] = []
    for name, layer in _outer(model, ""):
        layer.register_forward_hook(_note(name, found))
    with torch.no_grad():
        model(image)
    return tuple(found)


def _outer(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if prefix or name not in HEADS:
            yield prefix + name, child
            if isinstance(child, nn.Sequential):
                yield from _outer(child, f"{prefix}{name}.")


def _note(name: str, found: list[tuple[str, int]]) -> Callable[..., None]:
    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.dim() == 4:
            found.append((name, output.shape[-1]))

    return hook


def _block(image_size: int, side: int) -> int:
    return round(math.log2(image_size / side)) + 1
