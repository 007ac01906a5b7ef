"""Criterion + allocation + masks: which parameters go, to meet a sparsity, and the table that says so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepcompress.pruning import masks
from deepcompress.pruning.allocation import Layer, Problem, allocate, evidence, table
from deepcompress.pruning.layers import GRANULARITY, in_scope, judged, require_names, together
from deepcompress.pruning.scoring import score
from deepcompress.pruning.settings import Channels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from deepcompress.models.classifier import Classifier
    from deepcompress.pruning.allocation import Curve
    from deepcompress.pruning.masks import Masks
    from deepcompress.pruning.settings import Method, Way


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
    way: Way,
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
        gradients: Of `scoring.batch_gradients`, for criteria that need them.

    Raises:
        UserError: If a layer is unknown, a weight not finite, or the sparsity out of reach.
    """
    layers = in_scope(model, method, way.scope)
    require_names(way.dense, layers, f"prune.{method}.dense")
    judges = judged(model, method, layers)
    scores = score(way.criterion, judges, GRANULARITY[method], seed=seed, gradients=gradients)
    if method == "structured":
        scores = together(model, scores)
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
        chosen = masks.unstructured(scores, pruned)
    rows = table(problem, shares, pruned)
    return Choice(chosen, [{"method": method, "scope": way.scope, **row} for row in rows])


def _layer(name: str, scores: Tensor, weight: Tensor, weights: int, way: Way) -> Layer:
    units = scores.numel()
    step = math.gcd(units, way.round_to) if isinstance(way, Channels) else 1
    return Layer(name, tuple(weight.shape), units, weights // units, name in way.dense, step)


def _weights(model: Classifier, method: Method, name: str) -> int:
    """Of a layer and all that lose channels with it."""
    return sum(layer.weight.numel() for layer in judged(model, method, [name]).values())
