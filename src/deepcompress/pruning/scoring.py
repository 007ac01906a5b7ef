"""Score every weight, or every channel, of a network's layers by a criterion, which is a file in criteria/.

A criterion module has GRANULARITIES (of "weight", "channel"), NEEDS_GRADIENTS, and `scores(subject)`; one
that needs gradients is asked once per batch and its scores are averaged, any other is asked once.

Which weights go at each of several counts is read from one look at the scores: the lowest go; of equal ones the one
with the lower index goes first, so that a count is met exactly and a higher count always takes all that a lower one
took. Sorting a layer of 100 million weights would cost several times as much as the few order statistics do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.measure.accuracy import evaluating

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor, nn

    from deepcompress.data.batches import Batch

    Layers = Mapping[str, nn.Conv2d | nn.Linear]

Granularity = Literal["weight", "channel"]


@dataclass(frozen=True)
class LayerView:
    """One layer, as a criterion sees it.

    Attributes:
        name: Of the layer.
        weight: (outputs, inputs) or (filters, channels, height, width); to be read only.
        granularity: Whether a score per weight or per output channel is asked for.
        seed: For criteria that draw.
        gradient: Of the mean cross-entropy of one batch; None where the criterion needs none.
        norm_scale: Of the batch norm right behind, one per output; None where there is none.
    """

    name: str
    weight: Float[Tensor, "outputs ..."]
    granularity: Granularity
    seed: int = 0
    gradient: Float[Tensor, "outputs ..."] | None = None
    norm_scale: Float[Tensor, " outputs"] | None = None


def score(
    criterion: str,
    layers: Layers,
    granularity: Granularity,
    *,
    seed: int = 0,
    gradients: Iterable[Mapping[str, Tensor]] | None = None,
    norm_scales: Mapping[str, Tensor] | None = None,
) -> dict[str, Float[Tensor, "outputs ..."]]:
    """Scores of every layer; higher = keep.

    Args:
        criterion: A file in criteria/.
        layers: What to score, by name.
        granularity: "weight": scores in the shape of each weight; "channel": one per output.
        seed: For criteria that draw.
        gradients: What `batch_gradients` yields; read only by criteria that need it.
        norm_scales: Of `layers.norm_scales`.

    Raises:
        UserError: If the criterion is unknown or does not score this granularity, or a weight or score is not
            finite.
    """
    module = params.plugin("pruning.criteria", criterion)
    if granularity not in module.GRANULARITIES:
        raise UserError(f"the criterion {criterion} scores a {' or '.join(module.GRANULARITIES)}, not a {granularity}")
    for name, layer in layers.items():
        _require_finite(name, "weight", layer.weight)

    scales = norm_scales or {}

    def asked(by_layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            return {
                name: module.scores(
                    LayerView(name, layer.weight.detach(), granularity, seed, by_layer.get(name), scales.get(name))
                )
                for name, layer in layers.items()
            }

    if not module.NEEDS_GRADIENTS:
        found = asked({})
    elif gradients is None:
        raise ValueError(f"the criterion {criterion} needs the gradients of training batches")
    else:
        found = _averaged(map(asked, gradients))
    for name, values in found.items():
        _require_finite(name, f"{criterion} score", values)
    return found


def batch_gradients(model: nn.Module, layers: Layers, batches: Iterable[Batch]) -> Iterator[dict[str, Tensor]]:
    """Gradient of each batch's mean cross-entropy by the weight of every layer, in evaluation mode.

    Weights, their `.grad` and the batch norms' statistics stay as they are.
    """
    weights = [layer.weight for layer in layers.values()]
    for batch in batches:
        with evaluating(model), torch.enable_grad():
            loss = F.cross_entropy(model(batch.images), batch.labels)
            yield dict(zip(layers, torch.autograd.grad(loss, weights), strict=True))


def _averaged(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}
    batches = 0
    for part in parts:
        batches += 1
        total = {name: total[name].add_(values) if total else values for name, values in part.items()}
    if not batches:
        raise ValueError("there are no training batches to take gradients on")
    return {name: values.div_(batches) for name, values in total.items()}


def _require_finite(layer: str, what: str, values: Tensor) -> None:
    if not torch.stack(values.detach().aminmax()).isfinite().all():  # NaN and infinity reach both or one
        raise UserError(f"{layer}: a {what} is not finite; the model has diverged and cannot be pruned")


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
