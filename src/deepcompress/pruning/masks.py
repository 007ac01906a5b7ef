"""Masks that say which parameters survive, that hold them there while a model trains on, and that take channels out.

A mask is a dict: parameter name -> bool tensor that broadcasts to the parameter, True where it survives. A
filter goes whole: with its weights its bias and its batch norm's scale and shift become zero (`ln_structured`
of torch leaves those), so that its map is exactly zero and the channel can be removed: the same class of network, with
fewer filters and units, and the same answers.
Source of the idea that a channel's filter goes with the next layer's inputs: Li et al., ICLR 2017,
https://arxiv.org/abs/1608.08710, figure 1.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from deepcompress.models.build import blank
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning.layers import group_masks, per_channel, require_names, shrunk_state
from deepcompress.pruning.scoring import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import Bool, Float
    from torch import Tensor, nn

    from deepcompress.models.spec import Spec
    from deepcompress.models.vgg import Classifier

    Masks = dict[str, Bool[Tensor, "..."]]
    Choose = Callable[[Tensor, int], Bool[Tensor, "..."]]

BITMASK_ABOVE = 1 / 32  # share of zeros; a bit of mask per 32-bit weight costs as much as these save


def unstructured(
    scores: Mapping[str, Float[Tensor, "outputs ..."]], pruned: Mapping[str, int], choose: Choose = kept
) -> Masks:
    """Masks of single weights.

    Args:
        scores: Per layer, in the shape of its weight; higher = keep.
        pruned: Weights to prune per layer.
        choose: Which of a layer's survive, given its scores and how many go; by default the highest.
    """
    return {f"{name}.weight": choose(scores[name], count) for name, count in pruned.items() if count}


def structured(model: Classifier, scores: Mapping[str, Float[Tensor, " outputs"]], pruned: Mapping[str, int]) -> Masks:
    """Masks of whole output channels: weights, bias, and scale and shift of the batch norm behind.

    Args:
        model: Its parameters are not changed.
        scores: Per layer, one for each output channel; higher = keep.
        pruned: Output channels to prune per layer.
    """
    return group_masks(model.spec, {name: kept(scores[name], count) for name, count in pruned.items() if count})


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


def remove_channels(model: Classifier, kept: Mapping[str, Bool[Tensor, " outputs"]]) -> Classifier:
    """A smaller network whose answers equal those of `model` with the dropped channels masked.

    The map is flattened channel by channel: with g = spec.grid, channel c feeds columns c*g*g .. (c+1)*g*g -
    1 of the first linear layer, which go with it.

    Args:
        model: Stays as it is.
        kept: Per layer, which output channels stay, at least one; a layer that is not named keeps all. Of layers that
            are tied to each other the first one's count.

    Returns:
        On the same device and in the same mode, with copies of the surviving weights.

    Raises:
        UserError: If a layer is unknown.
        ValueError: If a layer would be emptied, or the last layer, whose outputs are the classes, would
            shrink.
    """
    layers = prunable_layers(model)
    require_names(kept, layers, "prune")
    for name, flags in kept.items():
        outputs, remaining = len(layers[name].weight), int(flags.sum())
        if len(flags) != outputs or not remaining:
            raise ValueError(f"{name}: needs {outputs} flags with at least one channel kept, got {remaining} kept")
    *hidden, last = layers
    if last in kept and not kept[last].all():
        raise ValueError(f"{last}: its outputs are the classes and cannot be removed")
    state, sizes = shrunk_state(model.state_dict(), model.spec, per_channel(model.spec, kept))
    spec: Spec
    if isinstance(model.spec, VGGSpec):
        *features, first, second = (len(state[f"{name}.weight"]) for name in hidden)
        spec = dataclasses.replace(model.spec, features=tuple(features), hidden=(first, second))
    else:
        spec = dataclasses.replace(model.spec, widths=tuple(sizes.items()))
    smaller = blank(spec)
    smaller.load_state_dict(state, assign=True)
    for parameter, original in zip(smaller.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    return smaller.train(model.training)
