"""Criterion + allocation + masks: which parameters go to meet a sparsity, and the model that is left.

Once as zeros in its old shape, and once as what is fine-tuned: single weights as zeros, channels removed.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from deepcompress import params
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays, Fit, sampled
from deepcompress.errors import UserError, require_array
from deepcompress.measure import cost
from deepcompress.measure.accuracy import evaluating
from deepcompress.pruning import masks
from deepcompress.pruning.allocation import Layer, Problem, allocate, table
from deepcompress.pruning.layers import groups, in_scope, require_named, scored_layers
from deepcompress.pruning.masks import scored
from deepcompress.pruning.settings import GRANULARITY, Channels, Prune

if TYPE_CHECKING:
    from torch import nn

    from deepcompress.models.vgg import Classifier
    from deepcompress.pruning.allocation import Curve

    Row = dict[str, Any]

log = logging.getLogger(__name__)
RECALIBRATION_BATCH = 256  # images


@dataclass(frozen=True)
class Pruned:
    """What pruning made of a model."""

    # In the old shape, with zeros and batch norms recalibrated; as accurate as pruning alone leaves it.
    masked: Classifier
    start: Classifier  # what fine-tuning starts from, a model of its own: single weights as zeros, channels removed
    trained: Classifier  # a copy of it, to be fine-tuned in place
    # What training calls after each step, so that zeros stay zero; None where there are none to keep.
    hold: Callable[[], None] | None
    # A row per layer in scope and one for all: its weights, assigned and achieved sparsity, what is pruned, and
    # `scope`, the layers whose weights are the denominator.
    table: list[Row]


def prune(
    dense: Classifier, images: Fit, settings: Prune, *, view: View, seed: int, curves: Mapping[str, Curve]
) -> Pruned:
    """Prune a copy of a model; the model itself stays as it is.

    Args:
        dense: On the device that runs it.
        images: To recalibrate batch norms on, and for criteria that need gradients.
        settings: Method, sparsity (met to within one weight, or `round_to` filters), and how the method chooses.
        view: How images become the model's input.
        seed: For criteria that draw, and for the draw of images.
        curves: Of `sensitivity.curves`, for allocations that read them.

    Raises:
        UserError: If no layer can be pruned, one is unknown, a weight not finite, or the sparsity out of reach.
    """
    method, way, layers = settings.method, settings.method_config(settings.method), subjects(dense, settings)
    names = [layer.name for layer in layers]
    scores = scored(dense, method, way.criterion, names, images, settings.scoring, view=view, seed=seed)
    allocation = params.plugin("pruning.allocations", way.allocation)
    problem = Problem(
        layers=layers,
        sparsity=settings.sparsity,
        curves=curves if allocation.EVIDENCE == "curves" else {},
        scores=scores if allocation.EVIDENCE == "scores" else {},
    )
    shares, counts = allocate(way.allocation, problem)
    rows = [{"method": method, "scope": way.scope, **row} for row in table(problem, shares, counts)]
    pattern = getattr(allocation, "kept", masks.kept)
    kept = {name: pattern(scores[name], count) for name, count in counts.items() if count}
    for name, flags in kept.items():
        require_array(f"allocation {way.allocation}: what it keeps of {name}", flags, scores[name].shape, "bool")
        if (dropped_units := int((~flags).sum())) != counts[name]:
            raise UserError(
                f"allocation {way.allocation} must drop {counts[name]} units of {name}, got {dropped_units}"
            )
    dropped, masked = masks.parameter_masks(dense, GRANULARITY[method], kept), copy.deepcopy(dense)
    masks.apply_(masked, dropped)
    if kept:
        recalibrate_(masked, images.train, settings.recalibrate, view=view, seed=seed)
    start = masks.remove_channels(masked, kept) if method == "structured" else masked
    left, whole = cost.parameters(start)["nonzero"], cost.parameters(dense)["weights"]
    words = "%s: a sparsity of %g of the %d weights in scope leaves %d of all %d"
    log.info(words, method, settings.sparsity, problem.weights, left, whole)
    trained = copy.deepcopy(start)
    return Pruned(masked, start, trained, masks.hold(trained, dropped) if kept and start is masked else None, rows)


@torch.no_grad()
def recalibrate_(model: nn.Module, images: Arrays, samples: int, *, view: View, seed: int) -> None:
    """Set running means and variances of batch norms to those of some images: forward passes alone, no label is read.

    Pruning shifts what every layer behind is given, and the old statistics tell of before: with them a pruned model is
    measured as broken, not as one of fewer weights. Of the default's baseline, 75 % sparse by its sensitivity, 18 % of
    the answers were right with the old ones and 86 % with new ones.

    Each is the mean over the batches' own, every batch weighing the same (momentum None in torch's words) and so none
    of less than half the size. Dropout is off; weights, scales and shifts stay. `samples` images are drawn, or all.

    Source: Li et al. (EagleEye), ECCV 2020, https://arxiv.org/abs/2007.02491, section 3.3.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not samples or not norms:
        return
    size, device = RECALIBRATION_BATCH, next(model.parameters()).device
    drawn = Batches(sampled(images, samples, seed), view, batch_size=size, device=device, least=size // 2)
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


def tables(dense: Classifier, pruned: Pruned) -> dict[str, list[Row]]:
    """What there is to tell when training has ended, by name of table.

    Returns:
        `allocation`: a row per layer; `weights`: histograms; `storage`: sizes; the latter two for each of the
        states dense, masked and trained.
    """
    edges, histograms, sizes = cost.edges(dense), [], []
    for state, model in {"dense": dense, "masked": pruned.masked, "trained": pruned.trained}.items():
        histograms += [{"state": state, **row} for row in cost.histograms(model, edges)]
        counts = cost.parameters(model)
        weights = {"weights": counts["weights"], "nonzero_weights": counts["nonzero"], "macs": cost.macs(model)}
        size = {"parameters": counts["total"], **weights, **cost.weights_mib(model), **cost.payload_bytes(model)}
        sizes.append({"state": state, **size})
    return {"allocation": pruned.table, "weights": histograms, "storage": sizes}


def subjects(dense: Classifier, settings: Prune) -> tuple[Layer, ...]:
    """The layers that can be pruned, as an allocation sees them.

    Of each, weights are those of all layers that lose channels with it. A UserError if there are none, or one that is
    to stay whole is unknown.
    """
    method, way = settings.method, settings.method_config(settings.method)
    layers = in_scope(dense, method, way.scope)
    if not layers:
        raise UserError(
            f"params.yaml: prune.{method}: no layer in scope {way.scope} of {dense.spec.arch} can be pruned"
        )
    require_named(way.dense, layers, f"prune.{method}.dense")
    found = []
    for name, layer in layers.items():
        units = groups(dense.spec)[name].channels if method == "structured" else layer.weight.numel()
        weights = sum(tied.weight.numel() for tied in scored_layers(dense, method, [name]).values())
        step = math.gcd(units, way.round_to) if isinstance(way, Channels) else 1
        found.append(Layer(name, tuple(layer.weight.shape), units, weights // units, name in way.dense, step))
    return tuple(found)
