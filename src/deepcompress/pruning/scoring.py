"""Score every weight, or every channel, of a network's layers by a criterion, which is a file in criteria/.

A criterion module has GRANULARITIES (of "weight", "channel"), NEEDS_GRADIENTS, and `scores(subject)`; one
that needs gradients is asked once per batch and its scores are averaged, any other is asked once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

from deepcompress import registry
from deepcompress.errors import UserError
from deepcompress.measure.accuracy import evaluating

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jaxtyping import Float
    from torch import Tensor, nn

    from deepcompress.data.batches import Batch

    Layers = Mapping[str, nn.Conv2d | nn.Linear]

Granularity = Literal["weight", "channel"]


@dataclass(frozen=True)
class Subject:
    """One layer, as a criterion sees it.

    Attributes:
        name: Of the layer.
        weight: (outputs, inputs) or (filters, channels, height, width); to be read only.
        granularity: Whether a score per weight or per output channel is asked for.
        seed: For criteria that draw.
        gradient: Of the mean cross-entropy of one batch; None where the criterion needs none.
    """

    name: str
    weight: Float[Tensor, "outputs ..."]
    granularity: Granularity
    seed: int = 0
    gradient: Float[Tensor, "outputs ..."] | None = None


def score(
    criterion: str,
    layers: Layers,
    granularity: Granularity,
    *,
    seed: int = 0,
    gradients: Iterable[Mapping[str, Tensor]] | None = None,
) -> dict[str, Float[Tensor, "outputs ..."]]:
    """Scores of every layer; higher = keep.

    Args:
        criterion: A file in criteria/.
        layers: What to score, by name.
        granularity: "weight": scores in the shape of each weight; "channel": one per output.
        seed: For criteria that draw.
        gradients: What `batch_gradients` yields; read only by criteria that need it.

    Raises:
        UserError: If the criterion is unknown or does not score this granularity, or a weight or score is not
            finite.
    """
    module = registry.find("pruning.criteria", criterion)
    if granularity not in module.GRANULARITIES:
        raise UserError(f"the criterion {criterion} scores a {' or '.join(module.GRANULARITIES)}, not a {granularity}")
    for name, layer in layers.items():
        _require_finite(name, "weight", layer.weight)

    def asked(by_layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            return {
                name: module.scores(Subject(name, layer.weight.detach(), granularity, seed, by_layer.get(name)))
                for name, layer in layers.items()
            }

    found = _averaged(asked(g) for g in _given(criterion, gradients)) if module.NEEDS_GRADIENTS else asked({})
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


def _given(criterion: str, gradients: Iterable[Mapping[str, Tensor]] | None) -> Iterable[Mapping[str, Tensor]]:
    if gradients is None:
        raise ValueError(f"the criterion {criterion} needs the gradients of training batches")
    return gradients


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
