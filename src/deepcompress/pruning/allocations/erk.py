"""Erdős-Rényi-Kernel: a layer with many weights for its inputs, outputs and kernel is pruned more."""

from __future__ import annotations

import math

from deepcompress.pruning.allocation import Problem, meet

EVIDENCE = "none"


def shares(problem: Problem) -> dict[str, float]:
    """1 - density, where density = min(1, epsilon * (sum of the weight's dimensions) / (their product)).

    Source: Evci et al., ICML 2020, https://arxiv.org/abs/1911.11134, section 3(1). Their code finds epsilon
    by making layers dense one after another; bisection gives the same densities. Structured pruning takes the
    density as the share of filters that stay, which the paper does not do.
    """
    densities = [sum(layer.shape) / math.prod(layer.shape) for layer in problem.layers]
    widest = 1 / min(densities)

    def family(dropped: float) -> list[float]:
        return [1 - min(1.0, widest * (1 - dropped) * density) for density in densities]

    return meet(problem, family, 0.0, 1.0)
