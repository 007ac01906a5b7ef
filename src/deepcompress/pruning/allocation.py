"""Share a sparsity out over layers, so that whole numbers of weights or filters meet the target.

An allocation is a file in allocations/ with EVIDENCE ("none", "curves" or "scores") and `shares(problem)`: which share
of each layer's units goes. Here those shares become counts. One with a pattern (two_of_four) also has GRANULARITIES,
its only SPARSITY, and `kept(scores, count)` in place of `masks.kept`.

A unit is one weight (unstructured) or one output channel with its own weights (structured; inputs that the next layer
loses along with it are not counted, as in the source report). The denominator is the weights of all layers in scope,
those that are to stay dense included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress import params
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    Curve = tuple[Sequence[float], Sequence[float]]

HALVINGS = 100
ROUNDING = 1e-6  # units; a share of 100 million units is no exact float


@dataclass(frozen=True)
class Layer:
    """One layer, as an allocation sees it."""

    name: str  # of the layer
    shape: tuple[int, ...]  # of its weight
    units: int  # how many weights or channels there are to choose from
    weights_per_unit: int  # weights that go with one
    dense: bool = False  # whether it is to stay whole
    step: int = 1  # units go by so many at a time; divides `units`

    @property
    def weights(self) -> int:
        return self.units * self.weights_per_unit

    @property
    def most(self) -> int:
        """Units that may go: one step of them always stays, so that no layer is emptied."""
        return 0 if self.dense else self.units - self.step


@dataclass(frozen=True)
class Problem:
    """What an allocation is asked."""

    layers: tuple[Layer, ...]  # in forward order
    sparsity: float  # share of the weights of all layers that is to go, in [0, 1)
    curves: Mapping[str, Curve] = field(default_factory=dict)  # per layer (sparsities, top-1 %), for EVIDENCE "curves"
    scores: Mapping[str, Tensor] = field(default_factory=dict)  # per layer, one per unit, for EVIDENCE "scores"

    @property
    def weights(self) -> int:
        return sum(layer.weights for layer in self.layers)


def allocate(name: str, problem: Problem) -> tuple[dict[str, float], dict[str, int]]:
    """Assigned share and number of units to prune, per layer, by one allocation.

    Returns:
        Shares in [0, 1], and counts whose weights meet the target to within one step of units.

    Raises:
        UserError: If the allocation is unknown or gives no such shares, or the target is out of reach.
    """
    module = params.plugin("pruning.allocations", name)
    # A pattern fits some layers; no other one gives more in place of one that it does not fit.
    patterned = hasattr(module, "SPARSITY")
    if not patterned:
        require_reachable(problem)
    shares = module.shares(problem)
    layers = [layer.name for layer in problem.layers]
    if {*shares} != {*layers} or not all(0 <= share <= 1 for share in shares.values()):  # nor is NaN
        given = ", ".join(f"{layer}: {share}" for layer, share in shares.items())
        raise UserError(f"allocation {name} must give a share from 0 to 1 of each of {', '.join(layers)}, got {given}")
    if patterned:
        return shares, {layer.name: round(shares[layer.name] * layer.units) for layer in problem.layers}
    assigned = sum(shares[layer.name] * layer.weights for layer in problem.layers) / problem.weights
    half_steps = sum(layer.step * layer.weights_per_unit for layer in problem.layers) / 2
    if abs(assigned - problem.sparsity) * problem.weights > half_steps:
        raise UserError(
            f"allocation {name} must come to a sparsity of {problem.sparsity:g}, got {assigned:g}; see `meet`"
        )
    return shares, counts(problem, shares)


def meet(problem: Problem, family: Callable[[float], Sequence[float]], low: float, high: float) -> dict[str, float]:
    """The member of a family of allocations that meets the target.

    Args:
        problem: Names the target.
        family: Gives each layer's share, rising with its argument; steps are allowed and are then crossed by
            a straight line between the two sides. Shares are cut to what a layer can give.
        low: Here the family gives no more than the target; otherwise a part of its shares is taken.
        high: Here the family gives no less than the target.
    """
    most = np.array([layer.most / layer.units for layer in problem.layers])
    weights = np.array([layer.weights for layer in problem.layers], dtype=float)
    target = problem.sparsity * problem.weights

    def shares(argument: float) -> np.ndarray:
        return np.clip(np.asarray(family(argument), dtype=float), 0, most)

    below, above = shares(low), shares(high)
    if weights @ below > target:
        below, above = np.zeros(len(weights)), below
    else:
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            found = shares(middle)
            if weights @ found <= target:
                low, below = middle, found
            else:
                high, above = middle, found
    gap = weights @ (above - below)
    part = min(1.0, (target - weights @ below) / gap) if gap > 0 else 0.0
    met = below + part * (above - below)
    return {layer.name: float(share) for layer, share in zip(problem.layers, met, strict=True)}


def counts(problem: Problem, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole steps of units by the largest remainder, each layer within one step of its share.

    Remainders are served from the largest down, a step being taken where that brings the sum nearer to the
    target: so the sum ends within half of one step's weights of it. Single weights meet the rounded target
    exactly. Where a step is more than a weight, a layer that was assigned less than half of one loses none, however
    well its small step would fill the gap; then the sum may stay below the target by what such layers were assigned.
    """
    exact = {layer.name: shares[layer.name] * layer.units / layer.step for layer in problem.layers}
    steps = {layer.name: min(layer.most // layer.step, int(exact[layer.name] + ROUNDING)) for layer in problem.layers}
    missing = round(problem.sparsity * problem.weights)
    missing -= sum(steps[layer.name] * layer.step * layer.weights_per_unit for layer in problem.layers)
    by_remainder = sorted(problem.layers, key=lambda layer: steps[layer.name] - exact[layer.name])
    for layer in by_remainder:
        weights = layer.step * layer.weights_per_unit
        spared = weights > 1 and exact[layer.name] < 1 / 2
        if not spared and steps[layer.name] * layer.step < layer.most and 2 * missing >= weights:
            steps[layer.name] += 1
            missing -= weights
    return {layer.name: steps[layer.name] * layer.step for layer in problem.layers}


def table(problem: Problem, shares: Mapping[str, float], pruned: Mapping[str, int]) -> list[dict[str, Any]]:
    """Assigned and achieved sparsity of each layer and, last, of all: the source report's tables 1 and 2."""
    rows: list[dict[str, Any]] = [
        {
            "layer": layer.name,
            "weights": layer.weights,
            "units": layer.units,
            "assigned_sparsity": shares[layer.name],
            "achieved_sparsity": pruned[layer.name] / layer.units,
            "pruned_units": pruned[layer.name],
            "pruned_weights": pruned[layer.name] * layer.weights_per_unit,
        }
        for layer in problem.layers
    ]
    sums = {key: sum(row[key] for row in rows) for key in ("weights", "units", "pruned_units", "pruned_weights")}
    overall = {"assigned_sparsity": problem.sparsity, "achieved_sparsity": sums["pruned_weights"] / problem.weights}
    return [*rows, {**rows[0], "layer": "Overall", **sums, **overall}]  # columns in the order of the other rows


def require_reachable(problem: Problem) -> None:
    """Refuse a sparsity that its layers cannot give."""
    reach = sum(layer.most * layer.weights_per_unit for layer in problem.layers)
    if round(problem.sparsity * problem.weights) > reach:
        dense = [layer.name for layer in problem.layers if layer.dense]
        step = max(layer.step for layer in problem.layers)
        why = f" and {', '.join(dense)} stay{'s' * (len(dense) == 1)} dense" if dense else ""
        raise UserError(
            f"params.yaml: a prune sparsity of {problem.sparsity:g} is out of reach: at most "
            f"{int(1e6 * reach / problem.weights) / 1e6:g} of the {problem.weights} weights in scope can go, "
            f"since every layer keeps a weight or {'filter' if step == 1 else f'{step} filters'}{why}"
        )
