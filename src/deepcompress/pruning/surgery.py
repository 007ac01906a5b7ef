"""Take pruned channels out: the same class of network, with fewer filters and units, and the same answers.

How in a VGG, which is a chain, stands here; where layers are tied to each other, in coupling.py.

Source of the idea that a channel's filter goes with the next layer's inputs: Li et al., ICLR 2017,
https://arxiv.org/abs/1608.08710, figure 1.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch

from deepcompress.models.build import build
from deepcompress.models.spec import TorchvisionSpec
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.pruning import coupling
from deepcompress.pruning.layers import batch_norms, require_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Int
    from torch import Tensor

    from deepcompress.models.classifier import Classifier
    from deepcompress.models.spec import Spec


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
    rows = {name: _rows(name, len(layer.weight), kept.get(name), layer.weight.device) for name, layer in layers.items()}
    *hidden, last = rows
    if len(rows[last]) != len(layers[last].weight):
        raise ValueError(f"{last}: its outputs are the classes and cannot be removed")
    spec: Spec
    if isinstance(model, VGG):
        widths = [len(rows[name]) for name in hidden]
        convolutions = len(model.spec.features)
        spec = dataclasses.replace(
            model.spec, features=tuple(widths[:convolutions]), hidden=tuple(widths[convolutions:])
        )
        state = _surviving(model, rows)
    else:
        assert isinstance(model.spec, TorchvisionSpec)
        chosen = {name: flags for name, flags in kept.items() if name in coupling.groups(model.spec)}
        state, sizes = coupling.remove(model.state_dict(), model.spec, chosen)
        spec = dataclasses.replace(model.spec, widths=tuple(sizes.items()))
    with torch.device("meta"):  # no time and no random numbers for weights that are replaced
        smaller = build(spec)
    smaller.load_state_dict(state, assign=True)
    for parameter, original in zip(smaller.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    return smaller.train(model.training)


def _rows(name: str, outputs: int, kept: Tensor | None, device: torch.device) -> Int[Tensor, " kept"]:
    if kept is None:
        return torch.arange(outputs, device=device)
    if len(kept) != outputs or not kept.any():
        raise ValueError(f"{name}: needs {outputs} flags with at least one channel kept, got {int(kept.sum())} kept")
    return kept.nonzero()[:, 0].to(device)


def _surviving(model: VGG, rows: Mapping[str, Int[Tensor, " kept"]]) -> dict[str, Tensor]:
    """The state dict of the smaller network: rows of each layer, columns by the rows of the layer before."""
    state, norms = dict(model.state_dict()), batch_norms(model)
    columns, before = None, 3
    for name, layer in prunable_layers(model).items():
        weight = state[f"{name}.weight"]
        if columns is not None:
            per_channel = weight.shape[1] // before
            weight = weight.index_select(1, _columns(columns, per_channel))
        columns, before = rows[name], len(layer.weight)
        state[f"{name}.weight"] = weight.index_select(0, columns)
        vectors = [f"{name}.bias"]
        if name in norms:
            counter = f"{norms[name]}.num_batches_tracked"
            state[counter] = state[counter].clone()
            vectors += [f"{norms[name]}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        state.update({key: state[key].index_select(0, columns) for key in vectors})
    return state


def _columns(channels: Int[Tensor, " kept"], per_channel: int) -> Int[Tensor, " columns"]:
    offsets = torch.arange(per_channel, device=channels.device)
    return (channels[:, None] * per_channel + offsets).flatten()
