"""Build a network of torchvision.models as its spec says, channels that were removed left out, and name its blocks.

A block is what runs at one size of map, found by running the network without data. The names mean what they mean in a
VGG (models/taps.py): maps in block 3 have a quarter of the image's side in both, so that losses can match a VGG's
`block4` with a ResNet's. Inner layers of a residual block have no name here, because some are overwritten when the
shortcut is added.

torchvision is imported at the first call, since that takes longer than the rest of a stage's start-up.
Source: https://docs.pytorch.org/vision/stable/models.html.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from deepcompress.models.spec import TorchvisionSpec
    from deepcompress.models.vgg import Classifier

HEADS = ("avgpool", "classifier", "fc")
FEATURES = "features"
Sized = nn.Conv2d | nn.Linear | nn.BatchNorm2d


def build(spec: TorchvisionSpec) -> Classifier:
    """A network with torchvision's layers, names and initialisation.

    ReLUs are not in place, so that an output seen by a hook stays what the layer gave.

    Args:
        spec: The name and sizes; weights are drawn from torch's global generator.

    Raises:
        UserError: If the spec gives a size to a layer that does not exist or is of another kind.
    """
    from torchvision.models import get_model

    made = get_model(spec.arch, weights=None, num_classes=spec.classes)
    for module in made.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    layers = dict(made.named_modules())
    for name, sizes in spec.widths:
        layer = layers.get(name)
        if not isinstance(layer, Sized) or len(sizes) != len(_sizes(layer)):
            raise UserError(f"widths name a layer {name!r} with {len(sizes)} sizes, which {spec.arch} does not have")
        resize_(layer, sizes)
    made.spec = spec
    return cast("Classifier", made)  # in all but its class: images to logits, and a spec


def resize_(layer: Sized, sizes: tuple[int, ...]) -> None:
    """Give a layer new parameters of another size, not initialised, where the sizes differ."""
    if sizes == _sizes(layer):
        return
    if isinstance(layer, nn.Conv2d):
        layer.out_channels, layer.in_channels, layer.groups = sizes
        shape: tuple[int, ...] = (sizes[0], sizes[1] // sizes[2], *layer.kernel_size)
        _replace_(layer, {"weight": shape, "bias": sizes[:1]})
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = sizes
        _replace_(layer, {"weight": sizes, "bias": sizes[:1]})
    else:
        (layer.num_features,) = sizes
        _replace_(layer, dict.fromkeys(("weight", "bias", "running_mean", "running_var"), sizes))


def widths(made: nn.Module, full: nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Sizes of the layers in which a network differs from the full one; see TorchvisionSpec."""
    pairs = zip(made.named_modules(), full.modules(), strict=True)
    return tuple(
        (name, _sizes(layer))
        for (name, layer), whole in pairs
        if isinstance(layer, Sized) and isinstance(whole, Sized) and _sizes(layer) != _sizes(whole)
    )


def _sizes(layer: Sized) -> tuple[int, ...]:
    if isinstance(layer, nn.Conv2d):
        return layer.out_channels, layer.in_channels, layer.groups
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    return (layer.num_features,)


def _replace_(layer: nn.Module, shapes: dict[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        old = getattr(layer, name)
        if old is None:
            continue
        new = torch.empty(shape, dtype=old.dtype, device=old.device)
        setattr(layer, name, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)


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
        model = build(spec).eval()
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
