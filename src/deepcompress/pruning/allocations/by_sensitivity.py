"""Every layer gives until its own measured curve has lost as much accuracy as the others'."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepcompress.errors import UserError
from deepcompress.pruning.allocation import Problem, meet

EVIDENCE = "curves"


def shares(problem: Problem) -> dict[str, float]:
    """The largest share of each layer that costs no more than a common loss of accuracy, found by bisection.

    Curves are noisy and may rise, so each is first made monotone; between its points it is a straight line,
    and behind the last one it falls to 0 % at sparsity 1. A flat piece is given whole before any layer pays. A layer
    without a curve, or with one that does not begin at sparsity 0, is a UserError.

    Source: scanning one layer at a time: Li et al., ICLR 2017, https://arxiv.org/abs/1608.08710, section 3.2;
    one loss for all layers: `get_ratios_by_loss` of https://github.com/PaddlePaddle/PaddleSlim
    (prune/sensitive.py); isotonic fit by pooling adjacent violators: Ayer et al., Annals of Mathematical
    Statistics 26, 1955, https://doi.org/10.1214/aoms/1177728423.
    """
    lost = [_loss_curve(layer.name, problem) for layer in problem.layers]
    highest = max(float(points[-1]) for _, points in lost)
    return meet(problem, lambda loss: [_share_at(loss, *curve) for curve in lost], 0.0, highest)


def isotonic(values: Sequence[float]) -> np.ndarray:
    """The rising sequence nearest to `values` in squares: neighbours that fall are pooled to their mean."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pool = (float(value), 1)
        while pools and pools[-1][0] > pool[0]:
            mean, size = pools.pop()
            pool = ((mean * size + pool[0] * pool[1]) / (size + pool[1]), size + pool[1])
        pools.append(pool)
    return np.concatenate([np.full(size, mean) for mean, size in pools])


def _loss_curve(name: str, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    if name not in problem.curves:
        raise UserError(f"the sensitivity table has no curve for {name}; run the sensitivity stage again")
    sparsities, top1 = (np.asarray(values, dtype=float) for values in problem.curves[name])
    if len(sparsities) != len(top1) or not len(top1) or sparsities[0] != 0 or (np.diff(sparsities) <= 0).any():
        raise UserError(f"the sensitivity curve of {name} must rise in sparsity from 0; got {sparsities.tolist()}")
    lost = np.maximum(isotonic(top1[0] - top1), 0)
    return np.append(sparsities, 1.0), np.append(lost, max(top1[0], lost[-1]))


def _share_at(loss: float, sparsities: np.ndarray, lost: np.ndarray) -> float:
    """The largest sparsity whose loss is at most `loss`, by straight lines between the points."""
    after = int(np.searchsorted(lost, loss, side="right"))
    if after == len(lost):
        return float(sparsities[-1])
    rise = lost[after] - lost[after - 1]
    part = (loss - lost[after - 1]) / rise
    return float(sparsities[after - 1] + part * (sparsities[after] - sparsities[after - 1]))
