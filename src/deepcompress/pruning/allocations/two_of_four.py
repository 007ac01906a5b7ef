"""2:4 sparsity: of every four consecutive inputs of an output two go, the zeros that sparse tensor cores skip."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from deepcompress.pruning.allocation import Problem

EVIDENCE = "none"
GRANULARITIES = ("weight",)
SPARSITY = 0.5

log = logging.getLogger(__name__)


def shares(problem: Problem) -> dict[str, float]:
    """Half of every layer, but of those that are to stay dense and of those whose inputs are no multiple of 4.

    The latter are named in the log; so less than half of all weights goes where there are any. A UserError if any other
    sparsity is asked for.
    """
    if problem.sparsity != SPARSITY:
        raise UserError(f"params.yaml: two_of_four prunes at a sparsity of {SPARSITY}, got {problem.sparsity:g}")
    unfit = [layer.name for layer in problem.layers if layer.shape[1] % 4]
    if unfit:
        log.info("two_of_four: %s stay dense: their inputs are no multiple of 4", ", ".join(unfit))
    return {layer.name: 0.0 if layer.dense or layer.name in unfit else SPARSITY for layer in problem.layers}


def kept(scores: Float[Tensor, "outputs inputs ..."], pruned: int) -> Bool[Tensor, "outputs inputs ..."]:
    """False for the two lowest of every four consecutive inputs; of equal ones the first goes.

    Args:
        scores: Of any criterion; inputs are channels, at each place of a kernel for itself.
        pruned: Half of them, as `shares` says.

    Source: Mishra et al., 2021, https://arxiv.org/abs/2104.08378, section 3: magnitude within each group of four along
    the dimension that a matrix product sums over, and in a convolution along the channels.
    """
    fours = scores.movedim(1, -1).unflatten(-1, (-1, 4))
    ranks = fours.argsort(dim=-1, stable=True).argsort(dim=-1)
    survivors = (ranks >= 2).flatten(-2).movedim(-1, 1)
    assert survivors.logical_not().sum() == pruned
    return survivors
