"""The same sparsity for every layer."""

from __future__ import annotations

from deepcompress.pruning.allocation import Problem, meet

EVIDENCE = "none"


def shares(problem: Problem) -> dict[str, float]:
    """One share for all layers; where a layer cannot give as much, the others give more.

    Source: the uniform baseline of Gale et al., 2019, https://arxiv.org/abs/1902.09574, section 4 (they leave
    the first layer dense; here `dense` in params.yaml says which layers stay so).
    """
    return meet(problem, lambda share: [share] * len(problem.layers), 0.0, 1.0)
