"""Which weights go at each of several counts, from one look at the scores.

The lowest scores go; of equal scores the one with the lower index goes first, so that a count is met exactly
and a higher count always takes all that a lower one took. Sorting a layer of 100 million weights would cost
several times as much as the few order statistics do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor

CHUNK = 2**24  # entries; smaller chunks lie in cache, but threads that meet more often lose far more on a busy CPU


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
    counts = [count for count in pruned if count < len(flat)]
    if counts:
        thresholds = _order_statistics(flat, counts)
        alive = _count_survivors_(flat, thresholds, survived)
        for threshold, count, left in zip(thresholds, counts, alive, strict=True):
            survived[_first_equal(flat, threshold, left - (len(flat) - count))] -= 1
    return survived.view(scores.shape)


def _count_survivors_(flat: Tensor, thresholds: Tensor, survived: Tensor) -> list[int]:
    """Add to each entry the number of thresholds that it reaches; returns how many entries reach each."""
    alive = torch.zeros(len(thresholds), dtype=torch.int64, device=flat.device)
    chunk = CHUNK if flat.device.type == "cpu" else len(flat)
    for entries, sums in zip(flat.split(chunk), survived.split(chunk), strict=True):
        for number, threshold in enumerate(thresholds):
            reached = entries >= threshold
            alive[number] += reached.count_nonzero()
            sums += reached
    return alive.tolist()


def _first_equal(flat: Tensor, value: Tensor, count: int) -> Tensor:
    """Indices of the first `count` entries equal to `value`."""
    found: list[Tensor] = [torch.empty(0, dtype=torch.int64, device=flat.device)]
    start = 0
    while sum(map(len, found)) < count:
        found.append(start + (flat[start : start + CHUNK] == value).nonzero()[:, 0])
        start += CHUNK
    return torch.cat(found)[:count]


def _order_statistics(flat: Tensor, ranks: Sequence[int]) -> Float[Tensor, " ranks"]:
    """The scores at the given places (0 = lowest) of the sorted order."""
    if flat.device.type != "cpu" or flat.dtype not in (torch.float32, torch.float64):
        return flat.sort().values[list(ranks)]
    return torch.from_numpy(np.partition(flat.numpy(), list(ranks))[list(ranks)])
