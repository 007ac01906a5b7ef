"""Channels that can only go together, in networks where a shortcut or a depthwise convolution ties layers to others.

All layers that add to the same stream lose the same channels, and with them go the batch norms behind and the inputs
of every layer that reads the stream. Torch-Pruning finds these groups in the network's graph; what is done with them
is ours, on indices of the dense network, so that several groups can go at once.
Source: Fang et al., CVPR 2023, https://arxiv.org/abs/2301.12900, section 3.2; https://github.com/VainF/Torch-Pruning.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from deepcompress.models.build import build
from deepcompress.models.vgg import prunable_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool, Float
    from torch import Tensor

    from deepcompress.models.spec import Spec

    Kept = Mapping[str, Bool[Tensor, " channels"]]


@dataclass(frozen=True)
class Part:
    """What a group takes from one layer.

    Attributes:
        layer: Its name.
        outputs: Whether outputs go (of a convolution, a linear layer, a batch norm), or inputs.
        indices: Which output or input belongs to channel 0, 1, ... of the group.
    """

    layer: str
    outputs: bool
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Channels that go together, one from each part.

    Attributes:
        members: Convolutions and linear layers whose outputs they are, in forward order; the first names the group.
        channels: How many.
        parts: Everything that a channel is part of.
    """

    members: tuple[str, ...]
    channels: int
    parts: tuple[Part, ...]


@functools.cache
def groups(spec: Spec) -> dict[str, Group]:
    """All groups of a dense network by name, in forward order, but for the classes.

    A convolution in groups that is not depthwise stays as it is, and with it all that is tied to it.
    """
    import torch_pruning  # type: ignore[import-untyped]

    model = _outline(spec)
    image = torch.zeros(1, 3, spec.image_size, spec.image_size, device="meta")
    with torch.enable_grad():  # the graph is that of autograd
        graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=image)
    names = {module: name for name, module in model.named_modules()}
    layers = prunable_layers(model)
    last = next(reversed(layers))
    found: dict[str, Group] = {}
    grouped: set[str] = {last}
    for name, layer in layers.items():
        if name not in grouped:
            every = list(range(len(layer.weight)))
            pruner = graph.get_pruner_of_module(layer).prune_out_channels
            parts = _parts(graph.get_pruning_group(layer, pruner, idxs=every), names)
            outputs = {part.layer for part in parts if part.outputs}
            members = tuple(other for other in layers if other in outputs)
            grouped.update(members)
            touched = [layers[part.layer] for part in parts if part.layer in layers]
            if last not in members and not any(map(_in_groups, touched)):
                found[name] = Group(members, len(every), parts)
    return found


def together(spec: Spec, scores: Mapping[str, Float[Tensor, " channels"]]) -> dict[str, Float[Tensor, " channels"]]:
    """Scores of groups from those of their layers: the mean, each layer's divided by its own mean.

    Source: the defaults of Torch-Pruning's GroupNormImportance, which also counts the inputs that go.
    """
    found = {}
    for name, group in groups(spec).items():
        if name in scores:
            ours = [scores[member] for member in group.members]
            alone = len(ours) == 1
            found[name] = ours[0] if alone else torch.stack([one / one.mean().clamp(min=1e-30) for one in ours]).mean(0)
    return found


def masks(spec: Spec, kept: Kept) -> dict[str, Bool[Tensor, ...]]:
    """True where a parameter survives: weights, biases, and scales and shifts of batch norms of dropped channels go."""
    parameters = dict(_outline(spec).named_parameters())
    found: dict[str, Tensor] = {}
    for (layer, outputs), survivors in _survivors(spec, kept).items():
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if outputs and name in parameters:
                found[name] = survivors.view(-1, *[1] * (parameters[name].dim() - 1))
    return found


def remove(state: Mapping[str, Tensor], spec: Spec, kept: Kept) -> tuple[dict[str, Tensor], dict[str, tuple[int, ...]]]:
    """A state dict without the dropped channels, and the new sizes of the layers that changed.

    Args:
        state: Of the dense network.
        spec: Of the dense network.
        kept: Per group, which channels stay.
    """
    layers = dict(_outline(spec).named_modules())
    survivors = _survivors(spec, kept)
    smaller, sizes = dict(state), {}
    for name in dict.fromkeys(layer for layer, _ in survivors):
        outputs, inputs = survivors.get((name, True)), survivors.get((name, False))
        for key in (f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")):
            if key in smaller and outputs is not None:
                smaller[key] = smaller[key][outputs.to(smaller[key].device)]
        if inputs is not None:
            weight = smaller[f"{name}.weight"]
            smaller[f"{name}.weight"] = weight[:, inputs.to(weight.device)]
        sizes[name] = _sizes(layers[name], smaller[f"{name}.weight"])
    return {key: value.clone() for key, value in smaller.items()}, sizes


@functools.cache
def _outline(spec: Spec) -> nn.Module:
    """The dense network without memory."""
    with torch.device("meta"):
        return build(spec).eval()


def _sizes(layer: nn.Module, weight: Tensor) -> tuple[int, ...]:
    if isinstance(layer, nn.Conv2d):
        depthwise = layer.groups > 1
        return (len(weight), len(weight) if depthwise else weight.shape[1], len(weight) if depthwise else 1)
    return tuple(weight.shape)


def _survivors(spec: Spec, kept: Kept) -> dict[tuple[str, bool], Bool[Tensor, " channels"]]:
    """By layer and whether outputs are meant: which stay, of all groups together."""
    layers = dict(_outline(spec).named_modules())
    found: dict[tuple[str, bool], Tensor] = {}
    for name, channels in kept.items():
        for part in groups(spec)[name].parts:
            place = (part.layer, part.outputs)
            weight = layers[part.layer].get_parameter("weight")
            found.setdefault(place, torch.ones(weight.shape[0 if part.outputs else 1], dtype=torch.bool))
            found[place][torch.tensor(part.indices)[~channels.cpu()]] = False
    return found


def _in_groups(layer: nn.Conv2d | nn.Linear) -> bool:
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups < layer.out_channels


def _parts(group: Any, names: Mapping[nn.Module, str]) -> tuple[Part, ...]:
    """What Torch-Pruning says of a group, for the layers that have weights; each once."""
    found = {}
    for dependency, indices in group:
        module = dependency.target.module
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d)):
            outputs = "out_channels" in dependency.handler.__name__
            found[names[module], outputs] = Part(names[module], outputs, tuple(map(int, indices)))
    return tuple(found.values())
