"""Layer-adaptive magnitude: one threshold for all layers, on scores that see the rest of their layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepcompress.pruning.allocation import Problem, meet

if TYPE_CHECKING:
    from torch import Tensor

EVIDENCE = "scores"


def shares(problem: Problem) -> dict[str, float]:
    """The share of each layer's LAMP scores below a common threshold.

    Returns:
        Shares in [0, 1); the highest score of every layer is 1, so no layer is emptied.

    Source: Lee et al., ICLR 2021, https://arxiv.org/abs/2010.07611, equation 1. Theirs are weights; the
    scores of other criteria, and of whole filters, take the weights' place here.
    """
    ranked = [lamp_scores(problem.scores[layer.name]) for layer in problem.layers]

    def family(log_threshold: float) -> list[float]:
        threshold = np.exp(log_threshold)
        return [float(np.searchsorted(scores, threshold)) / len(scores) for scores in ranked]

    lowest = min(float(scores[scores > 0].min()) for scores in ranked)
    return meet(problem, family, np.log(lowest), 1e-6)


def lamp_scores(scores: Tensor) -> np.ndarray:
    """score^2 / (sum of squares of all scores that are no smaller), rising.

    Args:
        scores: Of one layer, not negative, in any order and shape.
    """
    ascending = np.sort(scores.detach().cpu().reshape(-1).numpy())
    squares = np.square(ascending, dtype=np.float64)
    if not squares[-1]:
        return np.linspace(0, 1, len(squares) + 1)[1:]  # all alike: any order is as good
    squares /= np.cumsum(squares[::-1])[::-1]
    return squares
