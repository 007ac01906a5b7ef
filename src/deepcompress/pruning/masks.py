"""Masks that say which parameters survive, and that hold them there while a model trains on.

A mask is a dict: parameter name -> bool tensor that broadcasts to the parameter, True where it survives. A
filter goes whole: with its weights its bias and its batch norm's scale and shift become zero (`ln_structured`
of torch leaves those), so that its map is exactly zero and the channel can be removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.pruning import coupling
from deepcompress.pruning.layers import batch_norms
from deepcompress.pruning.ranking import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import Bool, Float
    from torch import Tensor, nn

    from deepcompress.models.classifier import Classifier

    Masks = dict[str, Bool[Tensor, "..."]]

BITMASK_ABOVE = 1 / 32  # share of zeros; a bit of mask per 32-bit weight costs as much as these save


def unstructured(scores: Mapping[str, Float[Tensor, "outputs ..."]], pruned: Mapping[str, int]) -> Masks:
    """Masks of single weights.

    Args:
        scores: Per layer, in the shape of its weight; higher = keep.
        pruned: Weights to prune per layer.
    """
    return {f"{name}.weight": kept(scores[name], count) for name, count in pruned.items() if count}


def structured(model: Classifier, scores: Mapping[str, Float[Tensor, " outputs"]], pruned: Mapping[str, int]) -> Masks:
    """Masks of whole output channels: weights, bias, and scale and shift of the batch norm behind.

    Args:
        model: Its parameters are not changed.
        scores: Per layer, one for each output channel; higher = keep.
        pruned: Output channels to prune per layer.
    """
    if not isinstance(model, VGG):
        return coupling.masks(model.spec, {name: kept(scores[name], count) for name, count in pruned.items() if count})
    norms, layers, masks = batch_norms(model), prunable_layers(model), {}
    for name, count in pruned.items():
        if not count:
            continue
        channels, weight = kept(scores[name], count), layers[name].weight
        masks[f"{name}.weight"] = channels.view(-1, *[1] * (weight.dim() - 1))
        if layers[name].bias is not None:
            masks[f"{name}.bias"] = channels
        if name in norms:
            masks[f"{norms[name]}.weight"] = masks[f"{norms[name]}.bias"] = channels
    return masks


def apply_(model: nn.Module, masks: Masks) -> None:
    """Set what the masks drop to zero (to +0.0, even where it was not finite)."""
    with torch.no_grad():
        for name, mask in masks.items():
            parameter = model.get_parameter(name)
            parameter.masked_fill_(mask.logical_not().to(parameter.device), 0.0)


def hold(model: nn.Module, masks: Masks) -> Callable[[], None]:
    """A function to call after every optimizer step: it sets what the masks drop to zero again.

    Gradients, momentum and weight decay act on each parameter alone, so what they do to a dropped one never
    reaches another, and the next forward pass sees zeros. What is frozen by then stays as it is.
    """
    parameters = {name: model.get_parameter(name) for name in masks}
    dropped = {name: mask.logical_not() for name, mask in masks.items()}

    @torch.no_grad()
    def zero() -> None:
        for name, parameter in parameters.items():
            if parameter.requires_grad:
                dropped[name] = dropped[name].to(parameter.device)
                parameter.masked_fill_(dropped[name], 0.0)

    return zero


def keep_zeros(model: nn.Module) -> Callable[[], None] | None:
    """What keeps the zeros of a sparse model where they are while it trains; None where no layer is sparse."""
    sparse = encodings(model)
    return hold(model, {name: model.get_parameter(name).detach() != 0 for name in sparse}) if sparse else None


def encodings(model: nn.Module) -> dict[str, str]:
    """Which weights a file stores as a bitmask and survivors: those with zeros enough that it is smaller so."""
    weights = {f"{name}.weight": layer.weight.detach() for name, layer in prunable_layers(model).items()}
    return {name: "bitmask" for name, weight in weights.items() if (weight == 0).double().mean() > BITMASK_ABOVE}


def kept_channels(model: nn.Module, masks: Masks) -> dict[str, Bool[Tensor, " outputs"]]:
    """Which output channels survive, per masked layer; a channel is dropped where all its weights are."""
    found = {}
    for name, layer in prunable_layers(model).items():
        weight = masks.get(f"{name}.weight")
        if weight is not None:
            found[name] = weight.expand_as(layer.weight).flatten(1).any(dim=1)
    return found
