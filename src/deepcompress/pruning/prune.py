"""Criterion + allocation + masks: which parameters go to meet a sparsity, and the model that is left.

Once as zeros in its old shape, and once as what is fine-tuned: single weights as zeros, channels removed.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from deepcompress import params
from deepcompress.data.batches import Batches
from deepcompress.data.store import sampled
from deepcompress.measure import cost
from deepcompress.measure.accuracy import evaluating
from deepcompress.pruning import masks
from deepcompress.pruning.allocation import Layer, Problem, allocate, evidence, table
from deepcompress.pruning.layers import (
    DENSE_BELOW,
    GRANULARITY,
    group_scores,
    in_scope,
    norm_scales,
    require_dense,
    require_names,
    scored_layers,
    zero_share,
)
from deepcompress.pruning.masks import kept, remove_channels, score
from deepcompress.pruning.sensitivity import gradients
from deepcompress.pruning.settings import Channels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor, nn

    from deepcompress.data.batches import View
    from deepcompress.data.store import Arrays, Fit
    from deepcompress.models.vgg import Classifier
    from deepcompress.pruning.allocation import Curve
    from deepcompress.pruning.masks import Masks
    from deepcompress.pruning.settings import Method, MethodConfig, Prune

    Row = dict[str, Any]

RECALIBRATION_BATCH = 256  # images


@dataclass(frozen=True)
class Pruned:
    """What pruning made of a model.

    Attributes:
        masked: In the old shape, with zeros and batch norms recalibrated; as accurate as pruning alone leaves it.
        start: What fine-tuning starts from, a model of its own: single weights as zeros, channels removed.
        trained: A copy of it, to be fine-tuned in place.
        hold: What training calls after each step, so that zeros stay zero; None where there are none to keep.
        table: Assigned and achieved sparsity per layer; see `Choice`.
    """

    masked: Classifier
    start: Classifier
    trained: Classifier
    hold: Callable[[], None] | None
    table: list[Row]


def prune(
    dense: Classifier,
    images: Fit,
    settings: Prune,
    *,
    view: View,
    seed: int,
    curves: Mapping[str, Curve],
) -> Pruned:
    """Prune a copy of a model; the model itself stays as it is.

    Args:
        dense: On the device that runs it.
        images: To recalibrate batch norms on, and for criteria that need gradients.
        settings: Method, sparsity, and how the method chooses.
        view: How images become the model's input.
        seed: For criteria that draw, and for the draw of images.
        curves: Of `sensitivity.curves`.

    Raises:
        UserError: If the sparsity is out of reach or a layer unknown.
    """
    method, way = settings.method, settings.method_config(settings.method)
    layers = scored_layers(dense, method, in_scope(dense, method, way.scope))
    taken = gradients(way.criterion, dense, layers, images, settings.scoring, view=view, seed=seed)
    choice = choose(dense, method, way, settings.sparsity, seed=seed, curves=curves, gradients=taken)
    masked = copy.deepcopy(dense)
    masks.apply_(masked, choice.masks)
    if choice.masks:
        recalibrate_(masked, images.train, settings.recalibrate, view=view, seed=seed)
    if method == "structured":
        smaller = remove_channels(masked, masks.kept_channels(masked, choice.masks))
        return Pruned(masked, smaller, copy.deepcopy(smaller), None, choice.table)
    trained = copy.deepcopy(masked)
    hold = masks.hold(trained, choice.masks) if choice.masks else None
    return Pruned(masked, masked, trained, hold, choice.table)


@torch.no_grad()
def recalibrate_(model: nn.Module, images: Arrays, samples: int, *, view: View, seed: int) -> None:
    """Set running means and variances of batch norms to those of some images: forward passes alone, no label is read.

    Pruning shifts what every layer behind is given, and the old statistics tell of before: with them a pruned model is
    measured as broken, not as one of fewer weights. Of the default's baseline, 75 % sparse by its sensitivity, 18 % of
    the answers were right with the old ones and 86 % with new ones.

    Each is the mean over the batches' own, every batch weighing the same (momentum None in torch's words). Dropout is
    off; weights, scales and shifts stay.

    Args:
        model: On the device that runs it.
        images: Training images.
        samples: How many to draw; all of them if there are fewer. 0: nothing is done.
        view: How images become the model's input.
        seed: Draws the images.

    Source: Li et al. (EagleEye), ECCV 2020, https://arxiv.org/abs/2007.02491, section 3.3.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not samples or not norms:
        return
    device = next(model.parameters()).device
    drawn = Batches(sampled(images, samples, seed), view, batch_size=RECALIBRATION_BATCH, device=device, least=2)
    before = [(norm.momentum, norm.get_buffer("num_batches_tracked").clone()) for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.train().reset_running_stats()
            norm.momentum = None
        for batch in drawn.epoch(0):
            model(batch.images)
    for norm, (momentum, tracked) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.get_buffer("num_batches_tracked").copy_(tracked)


def require_source(model: Classifier, method: Method, where: str) -> Classifier:
    """The model as it is, if the method may start from it: a dense one, or for single weights one that lost channels.

    Args:
        model: As loaded.
        method: That is to prune it.
        where: Its file, for the message.

    Raises:
        UserError: If it is pruned already, as far as its zeros and widths tell.
    """
    thinned = method == "unstructured" and zero_share(model) <= DENSE_BELOW
    return model if thinned else require_dense(model, where)


def tables(dense: Classifier, pruned: Pruned) -> dict[str, list[Row]]:
    """What there is to tell when training has ended, by name of table.

    Args:
        dense: The model before.
        pruned: Its model trained.

    Returns:
        `allocation`: a row per layer; `weights`: histograms; `storage`: sizes; the latter two for each of the
        states dense, masked and trained.
    """
    states = {"dense": dense, "masked": pruned.masked, "trained": pruned.trained}
    edges = cost.edges(dense)
    histograms = [{"state": s, **row} for s, model in states.items() for row in cost.histograms(model, edges)]
    sizes = [{"state": state, **_size(model)} for state, model in states.items()]
    return {"allocation": pruned.table, "weights": histograms, "storage": sizes}


def _size(model: Classifier) -> Row:
    counts = cost.parameters(model)
    return {
        "parameters": counts["total"],
        "weights": counts["weights"],
        "nonzero_weights": counts["nonzero"],
        "macs": sum(cost.layer_macs(model).values()),
        **cost.weights_mib(model),
        **cost.payload_bytes(model),
    }


@dataclass(frozen=True)
class Choice:
    """What goes.

    Attributes:
        masks: Parameter name -> True where it survives; parameters that stay whole are not named.
        table: A row per layer in scope and one for all: its weights, assigned and achieved sparsity, what is
            pruned, and `scope`, the layers whose weights are the denominator.
    """

    masks: Masks
    table: list[dict[str, Any]]


def choose(
    model: Classifier,
    method: Method,
    way: MethodConfig,
    sparsity: float,
    *,
    seed: int,
    curves: Mapping[str, Curve] | None = None,
    gradients: Iterable[Mapping[str, Tensor]] | None = None,
) -> Choice:
    """Decide what goes; the model is not changed.

    Args:
        model: Dense.
        method: Single weights, or filters and units.
        way: Criterion, allocation, scope and layers to leave whole.
        sparsity: Share of the weights in scope, in [0, 1), met to within one weight, or `round_to` filters.
        seed: For criteria that draw.
        curves: Of `sensitivity.curves`, for allocations that read them.
        gradients: Of `masks.batch_gradients`, for criteria that need them.

    Raises:
        UserError: If a layer is unknown, a weight not finite, or the sparsity out of reach.
    """
    layers = in_scope(model, method, way.scope)
    require_names(way.dense, layers, f"prune.{method}.dense")
    judges = scored_layers(model, method, layers)
    scales, granularity = norm_scales(model), GRANULARITY[method]
    scores = score(way.criterion, judges, granularity, seed=seed, gradients=gradients, norm_scales=scales)
    if method == "structured":
        scores = group_scores(model, scores)
    problem = Problem(
        layers=tuple(
            _layer(name, scores[name], layer.weight, _weights(model, method, name), way)
            for name, layer in layers.items()
        ),
        sparsity=sparsity,
        curves=(curves or {}) if evidence(way.allocation) == "curves" else {},
        scores=scores if evidence(way.allocation) == "scores" else {},
    )
    shares, pruned = allocate(way.allocation, problem)
    if method == "structured":
        chosen = masks.structured(model, scores, pruned)
    else:
        pattern = getattr(params.plugin("pruning.allocations", way.allocation), "kept", kept)
        chosen = masks.unstructured(scores, pruned, pattern)
    rows = table(problem, shares, pruned)
    return Choice(chosen, [{"method": method, "scope": way.scope, **row} for row in rows])


def _layer(name: str, scores: Tensor, weight: Tensor, weights: int, way: MethodConfig) -> Layer:
    units = scores.numel()
    step = math.gcd(units, way.round_to) if isinstance(way, Channels) else 1
    return Layer(name, tuple(weight.shape), units, weights // units, name in way.dense, step)


def _weights(model: Classifier, method: Method, name: str) -> int:
    """Of a layer and all that lose channels with it."""
    return sum(layer.weight.numel() for layer in scored_layers(model, method, [name]).values())
