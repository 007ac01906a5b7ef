"""A pass over the validation images per layer and sparsity, and pruning by torch.nn.utils.prune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn.utils import prune

from benchmarks.plain.networks import layers
from benchmarks.plain.training import finetune_head_
from benchmarks.sensitivity import prune_layer_
from deepcompress.pruning.allocation import Layer, Problem, allocate

if TYPE_CHECKING:
    from torch import nn

    from benchmarks.plain.images import Data
    from benchmarks.plain.networks import VGG
    from deepcompress.pruning.allocation import Curve
    from deepcompress.pruning.settings import Method


def sensitivity(model: VGG, data: Data, method: Method, settings: dict[str, Any]) -> dict[str, list[int]]:
    """Validation images answered right with one layer pruned, per layer, at each sparsity.

    Args:
        model: Its weights are put back after each trial.
        data: Images.
        method: `structured` leaves the last layer out, whose outputs are the classes.
        settings: `sensitivity` of params.yaml; its first sparsity, 0, is measured once for all layers.
    """
    dense, found = data.right(model, settings["batch_size"]), {}
    tried = list(layers(model).items())
    for name, layer in tried[:-1] if method == "structured" else tried:
        before = {key: tensor.clone() for key, tensor in layer.state_dict().items()}
        found[name] = [dense]
        contiguous_(layer)
        for sparsity in settings["sparsities"][1:]:
            prune_layer_(layer, method, sparsity)
            found[name].append(data.right(model, settings["batch_size"]))
            layer.load_state_dict(before)
    return found


def prune_and_finetune_(
    model: VGG, data: Data, curves: dict[str, Curve], sparsity: float, settings: dict[str, Any], *, seed: int
) -> list[int]:
    """Zero the smallest weights of every layer, then train the last layer with its zeros held.

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
    """What an allocation reads, from the counts of `sensitivity`.

    Args:
        model: Its layers meet a sparsity to within one weight.
        right: Per layer, at each sparsity.
        sparsities: As asked for.
        images: Validation images.
    """
    found, sizes = {}, {name: layer.weight.numel() for name, layer in layers(model).items()}
    for name, counts in right.items():
        met = [round(sparsity * sizes[name]) / sizes[name] for sparsity in sparsities]
        found[name] = (met, [100 * count / images for count in counts])
    return found


def contiguous_(layer: nn.Conv2d | nn.Linear) -> None:
    """Undo channels_last memory of a weight: torch.nn.utils.prune cannot take it."""
    layer.weight.data = layer.weight.data.contiguous()
