"""What can be pruned in a network, over which layers a sparsity is counted, and which channels can only go together.

Unstructured pruning may take weights from every convolution and linear layer. Structured pruning may take filters of
convolutions and units of hidden linear layers; the outputs of the last layer are the classes, so it stays. Where a
shortcut or a depthwise convolution ties layers to others, all that add to the same stream lose the same channels, and
with them go the batch norms behind and the inputs of every layer that reads the stream; the first layer stands for all.
Of attention whole heads go, each with its queries, keys, values and the inputs behind.
Torch-Pruning finds these groups in the network's graph (of a VGG they are plain); what is done with them is ours, on
indices of the dense network, so that several groups can go at once.
Source: Fang et al., CVPR 2023, https://arxiv.org/abs/2301.12900, section 3.2; https://github.com/VainF/Torch-Pruning.
"""

from __future__ import annotations

import copy
import functools
import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

import torch
from torch import Tensor, nn

from deepcompress.errors import UserError
from deepcompress.models.build import first_line, has_heads, outline, resize_, trace
from deepcompress.models.spec import BLOCKS, GraphSpec, Spec, VGGSpec, library
from deepcompress.models.vgg import Classifier, prunable_layers

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from deepcompress.pruning.settings import Method

    Kept = Mapping[str, Bool[Tensor, " channels"]]
    Groups = Mapping[str, "Group"]

DENSE_BELOW = 1e-3  # share of exact zeros that a trained dense model may show
MISFITS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
NOT_FOLLOWED = (*MISFITS, AssertionError, AttributeError)
"""What Torch-Pruning raises on a network that it cannot follow: a ValueError for a layer that is not in its graph, the
others where it computes with numbers of channels that it has not found, or where autograd or the network's own code
refuses to run so."""


def in_scope(model: Classifier, method: Method, scope: Literal["all", "conv"]) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers whose weights are the denominator of a sparsity, in forward order."""
    layers = prunable_layers(model)
    if method == "structured":
        layers = {name: layers[name] for name in groups(model.spec)}
    return {name: layer for name, layer in layers.items() if scope == "all" or isinstance(layer, nn.Conv2d)}


def require_named(names: Iterable[str], layers: Iterable[str], key: str) -> None:
    """Refuse names, under a key of params.yaml, that no layer in scope has."""
    there = list(layers)
    for name in names:
        if name not in there:
            raise UserError(f"params.yaml: {key} names {name!r}; the layers are {', '.join(there)}")


def scored_layers(model: Classifier, method: Method, chosen: Iterable[str]) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers whose scores decide about those chosen: in structured pruning also all that are tied to them."""
    names = set(chosen)
    if method == "structured":
        names = {member for name in names for member in groups(model.spec)[name].members}
    return {name: layer for name, layer in prunable_layers(model).items() if name in names}


def batch_norms(model: Classifier) -> dict[str, str]:
    """Name of the batch norm right behind each convolution that has one."""
    if isinstance(model.spec, GraphSpec):
        return dict(trace(model.spec).norms)
    modules = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    return {
        name: after
        for (name, module), (after, norm) in itertools.pairwise(modules)
        if isinstance(module, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    }


def norm_scales(model: Classifier) -> dict[str, Float[Tensor, " outputs"]]:
    """Scale of the batch norm right behind each layer that has one."""
    norms: dict[str, Any] = {name: model.get_submodule(norm) for name, norm in batch_norms(model).items()}
    return {name: norm.weight.detach() for name, norm in norms.items() if norm.affine}


def zero_share(model: nn.Module) -> float:
    """Share of exact zeros among the weights of all convolutions and linear layers, 0 to 1."""
    weights = [layer.weight for layer in prunable_layers(model).values()]
    return 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)


def uneven_widths(spec: Spec) -> tuple[int, ...]:
    """The widths, unless layers as wide as each other in the full network are so here; removing channels ends that."""
    if not isinstance(spec, VGGSpec):
        return tuple(sizes[0] for _, sizes in spec.widths)
    full = [width for block in BLOCKS[spec.arch] for width in block]
    even = len(set(zip(full, spec.features, strict=True))) == len(set(full)) and len(set(spec.hidden)) == 1
    return () if even else (*spec.features, *spec.hidden)


def require_dense(model: Classifier, where: str, *, narrow: bool = False) -> Classifier:
    """The model as it is; a UserError that says where it comes from if its zeros or its widths tell that it is pruned.

    With `narrow` one that lost channels will do, as where single weights are to go.
    """
    zeros = zero_share(model)
    if zeros > DENSE_BELOW:
        raise UserError(f"{where}: already pruned ({zeros:.1%} of its weights are zero); give a dense model")
    if not narrow and (widths := uneven_widths(model.spec)):
        listed = ", ".join(map(str, widths))
        raise UserError(f"{where}: channels are already removed (widths {listed}); give a dense model")
    return model


@dataclass(frozen=True)
class Group:
    """Channels that go together, one from each part."""

    # Convolutions and linear layers whose outputs they are, in forward order; the first names the group.
    members: tuple[str, ...]
    channels: int  # how many; of attention each head is one
    # Everything that a channel is part of: by layer and whether outputs go (of a convolution, a linear layer, a batch
    # norm) or inputs, those of channel 0, 1, ... of the group; several each where a map is flattened.
    parts: Mapping[tuple[str, bool], Sequence[int]]


def groups(spec: Spec) -> dict[str, Group]:
    """All groups of a dense network by name, in forward order, but for the classes and what `unprunable` names."""
    return _searched(spec)[0]


def unprunable(spec: Spec) -> dict[str, str]:
    """Layers that no structured pruning can take channels from, but for the last one, and what is in the way."""
    return _searched(spec)[1]


@functools.cache
def _searched(spec: Spec) -> tuple[dict[str, Group], dict[str, str]]:
    """The groups, and why the others stay whole: something that is tied to them cannot lose a channel.

    That is a convolution in groups that is not depthwise, any other module or parameter with numbers per channel, or,
    as in attention, code that a smaller layer does not fit: there removing and masking are tried and compared.
    """
    if isinstance(spec, VGGSpec):
        return _of_a_chain(outline(spec)), {}
    import torch_pruning  # type: ignore[import-untyped]

    model = copy.deepcopy(outline(spec)).requires_grad_(True)  # the graph is that of autograd
    image = torch.zeros(1, 3, spec.image_size, spec.image_size, device=next(model.parameters()).device)
    graph = torch_pruning.DependencyGraph()
    # Before any `try`: where another version of Torch-Pruning lacks one of them, the network is not to blame.
    follow, tie, pruner_of = graph.build_dependency, graph.get_pruning_group, graph.get_pruner_of_module
    bounded = _bounded(max(weight.numel() for weight in model.parameters()))
    try:
        with torch.enable_grad(), warnings.catch_warnings(action="ignore"):
            follow(model, example_inputs=image)
    except NOT_FOLLOWED as error:
        return {}, dict.fromkeys([*prunable_layers(model)][:-1], _not_followed(error))
    names = {module: name for name, module in model.named_modules()}
    layers, heads = prunable_layers(model), _heads(model)
    last = next(reversed(layers))
    found: dict[str, Group] = {}
    whole: dict[str, str] = {}
    grouped: set[str] = {last}
    for name, layer in layers.items():
        if name in grouped:
            continue
        if name in heads:
            found[name] = heads[name]
            continue
        every, without_outputs = list(range(len(layer.weight))), pruner_of(layer).prune_out_channels
        try:
            with bounded:
                tied = tie(layer, without_outputs, idxs=every)
        except NOT_FOLLOWED as error:
            whole[name] = _not_followed(error)
            continue
        parts = _parts(tied, names)
        members = tuple(other for other in layers if (other, True) in parts)
        grouped.update(members)
        if last in members:
            whole |= dict.fromkeys(members, "its channels are the classes")
        elif reason := _in_the_way(tied, names):
            whole |= dict.fromkeys(members, reason)
        else:
            found[name] = Group(members, len(every), parts)
    if library(spec.arch) != "torchvision" and not _removable(spec, found):  # of these a test says so
        kept = {name: group for name, group in found.items() if _removable(spec, {name: group})}
        for name in found.keys() - kept.keys():
            whole |= dict.fromkeys(found[name].members, "the code behind it, such as a reshape, needs all of them")
        found = kept
    whole.pop(last, None)
    return found, {name: whole[name] for name in layers if name in whole}


def _bounded(most: int) -> Any:
    """What Torch-Pruning is to run in: where reshapes follow each other, as in windows, it multiplies without end."""
    from torch_pruning.dependency import index_mapping  # type: ignore[import-untyped]

    class Flattened(index_mapping._FlattenIndexMapping):
        def __call__(self, indices: Any) -> Any:
            if not self.reverse and len(indices) * self._stride > most:
                raise RuntimeError("it takes reshapes to have more channels than any layer has weights")
            return super().__call__(indices)

    return mock.patch.object(index_mapping, index_mapping._FlattenIndexMapping.__name__, Flattened)


def _not_followed(error: Exception) -> str:
    return f"Torch-Pruning cannot follow the network there ({first_line(error)})"


def _heads(model: nn.Module) -> dict[str, Group]:
    """A group per layer that gives the queries, keys and values of several heads: a head goes with all of its own."""
    found = {}
    for name, module in model.named_modules():
        if has_heads(module) and module.num_heads > 1:
            layer, heads = f"{name}.qkv", int(module.num_heads)
            outputs = torch.arange(module.qkv.out_features).view(3, heads, -1).transpose(0, 1).flatten().tolist()
            parts = {(layer, True): outputs, (f"{name}.proj", False): range(len(outputs) // 3)}
            found[layer] = Group((layer,), heads, parts)
    return found


def _of_a_chain(model: Classifier) -> dict[str, Group]:
    """The groups of a network without shortcuts, for which Torch-Pruning need not be loaded: a layer each.

    With it go its batch norm and what the next layer reads of it, of a flattened map all places of a channel.
    """
    norms, found = batch_norms(model), {}
    for (name, layer), (reader, reading) in itertools.pairwise(prunable_layers(model).items()):
        every, inputs = range(len(layer.weight)), range(reading.weight.shape[1])
        outputs = {(place, True): every for place in (name, norms.get(name)) if place}
        found[name] = Group((name,), len(every), {**outputs, (reader, False): inputs})
    return found


def _in_the_way(tied: Any, names: Mapping[nn.Module, str]) -> str | None:
    """What has numbers for each channel of a group and is of no kind that can lose some."""
    for dependency, _ in tied:
        module = dependency.target.module
        if isinstance(module, nn.Parameter):
            return "a parameter of its own is added to its channels"
        if isinstance(module, nn.Conv2d):
            if 1 < module.groups < module.out_channels:
                return f"{names[module]} is a convolution in groups"
        elif isinstance(module, nn.BatchNorm2d):
            if not module.affine:  # it would shift what is masked away from zero
                return f"{names[module]} is a batch norm without scale and shift"
        elif not isinstance(module, nn.Linear) and any(True for _ in module.parameters()):
            return f"{names.get(module, type(module).__name__)} is a {type(module).__name__}"
    return None


def _removable(spec: Spec, found: Mapping[str, Group]) -> bool:
    """Whether the network answers the same with every other channel of some groups masked and removed."""
    assert isinstance(spec, GraphSpec)
    kept = {name: torch.arange(group.channels) % 2 == 0 for name, group in found.items()}
    model = outline(spec)
    image = torch.rand(2, 3, spec.image_size, spec.image_size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            masked = {name: model.get_parameter(name) * mask for name, mask in group_masks(spec, kept, found).items()}
            answers = torch.func.functional_call(model, masked, (image,))
            state, sizes = shrunk_state(model.state_dict() | masked, spec, kept, found)
            smaller = copy.deepcopy(model)
            resize_(smaller, sizes.items())
            smaller.load_state_dict(state)
    except MISFITS:  # shapes that do not fit
        return False
    try:
        with torch.no_grad():
            removed = smaller(image)
    except NOT_FOLLOWED:  # or that the network's own code refuses
        return False
    return torch.allclose(answers, removed, rtol=1e-3, atol=1e-3 * float(answers.abs().max()))


def group_scores(model: Classifier, scores: Mapping[str, Float[Tensor, " channels"]]) -> dict[str, Tensor]:
    """Scores of channels that go together, from those of their layers; of a layer alone its own.

    Of several layers the mean, each layer's divided by its own mean; of the outputs of a head their mean.
    Source: the defaults of Torch-Pruning's GroupMagnitudeImportance, which also counts the inputs that go.
    """
    combined = {}
    for name, group in groups(model.spec).items():
        if name in scores:
            own = [scores[member] for member in group.members]
            if len(own[0]) > group.channels:
                outputs = torch.tensor(group.parts[name, True], device=own[0].device)
                own = [own[0][outputs.view(group.channels, -1)].mean(1)]
            alone = len(own) == 1
            combined[name] = own[0] if alone else torch.stack([s / s.mean().clamp(min=1e-30) for s in own]).mean(0)
    return combined


def group_masks(spec: Spec, kept: Kept, known: Groups | None = None) -> dict[str, Bool[Tensor, ...]]:
    """True where a parameter survives: weights, biases, and scales and shifts of batch norms of dropped channels go.

    `kept` says per group of a dense network which channels stay; `known` are its groups, if not those of `groups`.
    """
    parameters = dict(outline(spec).named_parameters())
    found: dict[str, Tensor] = {}
    for (layer, outputs), survivors in _survivors(spec, kept, known).items():
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if outputs and name in parameters:
                found[name] = survivors.view(-1, *[1] * (parameters[name].dim() - 1))
    return found


def shrunk_state(
    state: Mapping[str, Tensor], spec: Spec, kept: Kept, known: Groups | None = None
) -> tuple[dict[str, Tensor], dict[str, tuple[int, ...]]]:
    """A dense network's state without the channels that `group_masks` drops, and the new sizes of changed layers."""
    survivors, layers = _survivors(spec, kept, known), dict(outline(spec).named_modules())
    smaller, sizes = dict(state), {}
    for name in dict.fromkeys(layer for layer, _ in survivors):
        outputs, inputs = survivors.get((name, True)), survivors.get((name, False))
        for key in (f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")):
            if key in smaller and outputs is not None:
                smaller[key] = smaller[key][outputs.to(smaller[key].device)]
        if inputs is not None:
            weight = smaller[f"{name}.weight"]
            smaller[f"{name}.weight"] = weight[:, inputs.to(weight.device)]
        count, *reads = smaller[f"{name}.weight"].shape
        sizes[name] = (count, *reads)
        if isinstance(layer := layers[name], nn.Conv2d):  # where it has groups it is depthwise
            sizes[name] = (count, count, count) if layer.groups > 1 else (count, reads[0], 1)
    return {key: value.clone() for key, value in smaller.items()}, sizes


def _survivors(spec: Spec, kept: Kept, known: Groups | None) -> dict[tuple[str, bool], Bool[Tensor, " channels"]]:
    """By layer and whether outputs are meant: which stay, of all groups together."""
    known = groups(spec) if known is None else known
    layers = dict(outline(spec).named_modules())
    found: dict[tuple[str, bool], Tensor] = {}
    for name, channels in kept.items():
        for (layer, outputs), indices in known[name].parts.items():
            weight = layers[layer].get_parameter("weight")
            survivors = torch.ones(weight.shape[0 if outputs else 1], dtype=torch.bool)
            dropped = torch.tensor(indices).view(len(channels), -1)[~channels.cpu()]
            found.setdefault((layer, outputs), survivors)[dropped] = False
    return found


def _parts(group: Any, names: Mapping[nn.Module, str]) -> dict[tuple[str, bool], list[int]]:
    """What Torch-Pruning says of a group, for the layers that have weights."""
    return {
        (names[dependency.target.module], "out_channels" in dependency.handler.__name__): [*map(int, indices)]
        for dependency, indices in group
        if isinstance(dependency.target.module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))
    }
