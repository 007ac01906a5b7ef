"""A pass over the validation images per layer and sparsity, and pruning by torch.nn.utils.prune."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import prune

from benchmarks.plain.images import Data
from benchmarks.plain.networks import VGG, layers
from benchmarks.plain.training import finetune_head_
from deepcompress.pruning.allocation import Layer, Problem, allocate
from deepcompress.pruning.settings import Method

if TYPE_CHECKING:
    from deepcompress.pruning.allocation import Curve


def sensitivity(model: VGG, data: Data, method: Method, settings: dict[str, Any]) -> dict[str, list[int]]:
    """Validation images answered right with one layer pruned, per layer, at each sparsity of `sensitivity`.

    The first sparsity, 0, is measured once for all layers. `structured` leaves the last layer out, whose outputs are
    the classes.
    """
    dense, tried = data.right(model, settings["batch_size"]), list(layers(model).items())
    found = trials(
        dict(tried[:-1] if method == "structured" else tried),
        lambda: data.right(model, settings["batch_size"]),
        lambda layer, sparsity: prune_layer_(layer, method, sparsity),
        settings["sparsities"][1:],
    )
    return {name: [dense, *counts] for name, counts in found.items()}


def trials(
    tried: Mapping[str, nn.Conv2d | nn.Linear],
    right: Callable[[], int],
    prune_: Callable[[nn.Module, float], None],
    sparsities: Sequence[float],
) -> dict[str, list[int]]:
    """What `right` gives with one layer pruned, per layer at each sparsity; weights are put back after each trial."""
    found: dict[str, list[int]] = {}
    for name, layer in tried.items():
        before = {key: tensor.clone() for key, tensor in layer.state_dict().items()}
        found[name] = []
        contiguous_(layer)
        for sparsity in sparsities:
            prune_(layer, sparsity)
            found[name].append(right())
            layer.load_state_dict(before)
    return found


def prune_layer_(layer: nn.Module, method: Method, sparsity: float) -> None:
    """Zero the share of a layer's weights, or of its filters and units, with the smallest norms, as torch does it."""
    if method == "unstructured":
        prune.l1_unstructured(layer, "weight", amount=round(sparsity * layer.weight.numel()))
    else:
        prune.ln_structured(layer, "weight", amount=round(sparsity * len(layer.weight)), n=2, dim=0)
        with torch.no_grad():  # torch leaves the bias of a pruned filter
            layer.bias.mul_(layer.weight.flatten(1).any(1))
    prune.remove(layer, "weight")


def prune_and_finetune_(
    model: VGG, data: Data, curves: dict[str, Curve], sparsity: float, settings: dict[str, Any], *, seed: int
) -> list[int]:
    """Zero the smallest of all weights, then train the last layer with its zeros held.

    Args:
        model: Dense; is changed in place.
        data: Images.
        curves: Per layer its sparsities and top-1 [%]. Where the report assigns each layer's sparsity by hand from
            them, the pipeline's allocation does so for both ways.
        sparsity: Of all weights.
        settings: `prune` of params.yaml.
        seed: Of the training.

    Returns:
        Validation images answered right after each epoch.
    """
    found = layers(model)
    shapes = tuple(Layer(name, tuple(one.weight.shape), one.weight.numel(), 1) for name, one in found.items())
    _, counts = allocate(settings["unstructured"]["allocation"], Problem(shapes, sparsity, curves=curves))
    head = model.classifier[-1]
    for name, layer in found.items():
        if counts[name]:
            contiguous_(layer)
            prune.l1_unstructured(layer, "weight", amount=counts[name])
            if layer is not head:  # frozen, so that its zeros need no mask
                prune.remove(layer, "weight")
    right = finetune_head_(model, data, settings["finetune"], seed=seed)
    if prune.is_pruned(head):
        prune.remove(head, "weight")
    return right


def curves(model: VGG, right: dict[str, list[int]], sparsities: list[float], images: int) -> dict[str, Curve]:
    """What an allocation reads, from the counts of `sensitivity`; layers meet a sparsity to within one weight."""
    found, sizes = {}, {name: layer.weight.numel() for name, layer in layers(model).items()}
    for name, counts in right.items():
        met = [round(sparsity * sizes[name]) / sizes[name] for sparsity in sparsities]
        found[name] = (met, [100 * count / images for count in counts])
    return found


def contiguous_(layer: nn.Conv2d | nn.Linear) -> None:
    """Undo channels_last memory of a weight: torch.nn.utils.prune cannot take it."""
    layer.weight.data = layer.weight.data.contiguous()
