"""Which weights go at each of several counts, from one look at the scores.

The lowest scores go; of equal scores the one with the lower index goes first, so that a count is met exactly
and a higher count always takes all that a lower one took. A full sort of a layer of 100 million weights would
cost ten times as much as the order statistics do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor


def kept(scores: Float[Tensor, "*shape"], pruned: int) -> Bool[Tensor, "*shape"]:
    """False for the `pruned` lowest scores, True for the rest."""
    return levels(scores, [pruned]).bool()


def levels(scores: Float[Tensor, "*shape"], pruned: Sequence[int]) -> UInt8[Tensor, "*shape"]:
    """At how many of the counts each entry survives: at count number k, an entry is pruned where level <= k.

    Args:
        scores: Finite; higher = keep.
        pruned: Rising counts of entries to prune, each from 0 to the number of entries; at most 255.
    """
    flat = scores.reshape(-1)
    if any(not 0 <= count <= len(flat) for count in pruned) or list(pruned) != sorted(pruned):
        raise ValueError(f"counts must rise from 0 to at most {len(flat)}, got {list(pruned)}")
    survived = torch.zeros(len(flat), dtype=torch.uint8, device=flat.device)
    thresholds = iter(_order_statistics(flat, [count - 1 for count in pruned if count]))
    for count in pruned:
        survived += _survivors(flat, next(thresholds), count) if count else 1
    return survived.view(scores.shape)


def _survivors(flat: Tensor, threshold: Tensor, count: int) -> Bool[Tensor, " entries"]:
    alive = flat >= threshold
    surplus = count - (len(flat) - int(alive.sum()))
    equal = (flat == threshold).nonzero()[:surplus, 0]
    alive[equal] = False
    return alive


def _order_statistics(flat: Tensor, ranks: Sequence[int]) -> Float[Tensor, " ranks"]:
    """The scores at the given places (0 = lowest) of the sorted order."""
    if not ranks:
        return flat[:0]
    if flat.device.type != "cpu" or flat.dtype not in (torch.float32, torch.float64):
        return flat.sort().values[list(ranks)]
    return torch.from_numpy(np.partition(flat.numpy(), list(ranks))[list(ranks)])
