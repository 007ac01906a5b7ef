"""What pruning looks at before it decides: validation images for a scan, gradients for criteria that need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress import registry
from deepcompress.data.batches import Batches
from deepcompress.data.store import sampled
from deepcompress.pruning.layers import GRANULARITY, in_scope, judged, together
from deepcompress.pruning.scoring import batch_gradients, score
from deepcompress.pruning.sensitivity import scan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    import torch
    from torch import Tensor

    from deepcompress.data.batches import View
    from deepcompress.data.store import Arrays, Fit
    from deepcompress.models.classifier import Classifier
    from deepcompress.pruning.scoring import Layers
    from deepcompress.pruning.settings import Method, Prune, Scoring, Sensitivity


def sensitivity(
    model: Classifier, images: Fit, method: Method, settings: Sensitivity, prune: Prune, *, view: View, seed: int
) -> list[dict[str, Any]]:
    """Scan every layer that a method can prune, on validation images.

    Args:
        model: Dense, on the device that runs it.
        images: To measure on, and to take gradients on where the criterion needs them.
        method: Single weights, or filters and units.
        settings: Which sparsities, on how many images.
        prune: Names the method's criterion.
        view: How images become the model's input.
        seed: Draws the images.

    Returns:
        Rows of `sensitivity.scan`, each with `method` and `criterion`.
    """
    layers, criterion = in_scope(model, method, "all"), prune.way(method).criterion
    judges = judged(model, method, layers)
    taken = gradients(criterion, model, judges, images, prune.scoring, view=view, seed=seed)
    scores = score(criterion, judges, GRANULARITY[method], seed=seed, gradients=taken)
    if method == "structured":
        scores = together(model, scores)
    batches = _batches(sampled(images.validation, settings.samples, seed), view, settings.batch_size, _device(model))
    rows = scan(model, batches, scores, settings.sparsities, granularity=GRANULARITY[method])
    return [{"method": method, "criterion": criterion, **row} for row in rows]


def gradients(
    criterion: str, model: Classifier, layers: Layers, images: Fit, scoring: Scoring, *, view: View, seed: int
) -> Iterator[Mapping[str, Tensor]] | None:
    """Gradients of some training images, for a criterion that needs them; None for any other."""
    if not registry.find("pruning.criteria", criterion).NEEDS_GRADIENTS:
        return None
    batches = _batches(sampled(images.train, scoring.samples, seed), view, scoring.batch_size, _device(model))
    return batch_gradients(model, layers, batches.epoch(0))


def _batches(arrays: Arrays, view: View, batch_size: int, device: torch.device) -> Batches:
    return Batches(arrays, view, batch_size=batch_size, device=device)


def _device(model: Classifier) -> torch.device:
    return next(model.parameters()).device
