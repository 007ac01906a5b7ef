"""Build a network of torchvision.models as its spec says, channels that were removed left out.

torchvision is imported at the first call, since that takes longer than the rest of a stage's start-up.
Source: https://docs.pytorch.org/vision/stable/models.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from deepcompress.models.classifier import Classifier
    from deepcompress.models.torchvision_spec import TorchvisionSpec

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
