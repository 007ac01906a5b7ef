"""What can be pruned in a network, and over which layers a sparsity is counted.

Unstructured pruning may take weights from every convolution and linear layer. Structured pruning may take
filters of convolutions and units of hidden linear layers; the outputs of the last layer are the classes, so
it stays. Where layers are tied to each other (see coupling.py) the first of them stands for all.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

from torch import nn

from deepcompress.errors import UserError
from deepcompress.models.spec import BLOCKS, VGGSpec
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.pruning import coupling

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from deepcompress.models.classifier import Classifier
    from deepcompress.models.spec import Spec
    from deepcompress.pruning.scoring import Granularity

DENSE_BELOW = 1e-3  # share of exact zeros that a trained dense model may show
Method = Literal["unstructured", "structured"]
GRANULARITY: Mapping[str, Granularity] = {"unstructured": "weight", "structured": "channel"}


def in_scope(model: Classifier, method: Method, scope: Literal["all", "conv"]) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers whose weights are the denominator of a sparsity, in forward order."""
    layers = prunable_layers(model)
    if method == "structured":
        layers = {name: layers[name] for name in tied(model)}
    return {name: layer for name, layer in layers.items() if scope == "all" or isinstance(layer, nn.Conv2d)}


def tied(model: Classifier) -> dict[str, tuple[str, ...]]:
    """The layers that structured pruning can choose, in forward order, each with all that lose the same channels."""
    if isinstance(model, VGG):
        return {name: (name,) for name in [*prunable_layers(model)][:-1]}
    return {name: group.members for name, group in coupling.groups(model.spec).items()}


def judged(model: Classifier, method: Method, chosen: Iterable[str]) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers whose scores decide about those chosen: in structured pruning also all that are tied to them."""
    groups = tied(model) if method == "structured" else {}
    names = {name for one in chosen for name in groups.get(one, (one,))}
    return {name: layer for name, layer in prunable_layers(model).items() if name in names}


def together(model: Classifier, scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores of channels from those of layers that are tied to each other; in a VGG they are the layers' own."""
    if isinstance(model, VGG):
        return scores
    return coupling.together(model.spec, scores)


def require_names(names: Iterable[str], layers: Iterable[str], key: str) -> None:
    """Refuse a layer that is not there.

    Raises:
        UserError: Naming the params key, the layer and the layers there are.
    """
    known = list(layers)
    for name in names:
        if name not in known:
            raise UserError(f"params.yaml: {key} names {name!r}; the layers are {', '.join(known)}")


def batch_norms(model: nn.Module) -> dict[str, str]:
    """Name of the batch norm right behind each layer that has one."""
    modules = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    return {
        name: after
        for (name, module), (after, norm) in itertools.pairwise(modules)
        if isinstance(module, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    }


def zero_share(model: nn.Module) -> float:
    """Share of exact zeros among the weights of all convolutions and linear layers, 0 to 1."""
    weights = [layer.weight for layer in prunable_layers(model).values()]
    return 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)


def has_even_widths(spec: Spec) -> bool:
    """Whether layers as wide as each other in the full network are so here; removing channels ends that."""
    if not isinstance(spec, VGGSpec):
        return not spec.widths
    full = [width for block in BLOCKS[spec.arch] for width in block]
    return len(set(zip(full, spec.features, strict=True))) == len(set(full)) and len(set(spec.hidden)) == 1


def require_dense(model: Classifier, where: str) -> Classifier:
    """The model as it is, unless it is pruned already, as far as its zeros and its widths tell.

    Args:
        model: As loaded.
        where: Its file, for the message.

    Raises:
        UserError: If it is pruned.
    """
    zeros = zero_share(model)
    if zeros > DENSE_BELOW:
        raise UserError(f"{where}: already pruned ({zeros:.1%} of its weights are zero); give a dense model")
    if not has_even_widths(model.spec):
        raise UserError(f"{where}: channels are already removed (widths {_widths(model.spec)}); give a dense model")
    return model


def _widths(spec: Spec) -> str:
    widths = (*spec.features, *spec.hidden) if isinstance(spec, VGGSpec) else [sizes[0] for _, sizes in spec.widths]
    return ", ".join(map(str, widths))
