"""The `prune` section, noise to take gradients and statistics on, and a network scored and pruned as they say."""

import copy
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from deepcompress import params
from deepcompress.models.vgg import Classifier, prunable_layers
from deepcompress.pruning import masks, prune
from deepcompress.pruning.layers import in_scope
from deepcompress.pruning.settings import Prune
from tests.nets import RECIPE, VIEW, fit

GRID = tuple(tenth / 10 for tenth in range(10))
PRUNE = {
    "method": "structured",
    "sparsity": 0.25,
    "unstructured": {"criterion": "l1", "allocation": "by_sensitivity", "scope": "all"},
    "structured": {"criterion": "l2_channel", "allocation": "by_sensitivity", "scope": "conv"},
    "scoring": {"samples": 8, "batch_size": 4},
    "finetune": RECIPE | {"epochs": 1, "batch_size": 8},
    "sweep": {"methods": ["unstructured", "structured"], "sparsities": [0, 0.25]},
}
FIT = fit(24, 16)


def settings(method: str, sparsity: float = 0.4, **way: Any) -> Prune:
    """The section; keywords change the method's own block."""
    block = {**copy.deepcopy(PRUNE), "method": method, "sparsity": sparsity}
    return params.validate(Prune, block | {method: PRUNE[method] | way}, "prune")


def scored(
    model: Classifier, method: str, criterion: str, layers: Iterable[str] | None = None, *, seed: int = 3
) -> dict[str, Tensor]:
    """Scores of some layers, or of all that the method may prune; by two batches where they rest on gradients."""
    layers, scoring = in_scope(model, method, "all") if layers is None else layers, settings(method).scoring
    return masks.scored(model, method, criterion, layers, FIT, scoring, view=VIEW, seed=seed)


def pruned(model: Classifier, method: str, sparsity: float = 0.4, **way: Any) -> prune.Pruned:
    """By made-up curves, where the allocation reads some."""
    curves = {name: (GRID, [80 - 10 * s * place for s in GRID]) for place, name in enumerate(prunable_layers(model))}
    return prune.prune(model, FIT, settings(method, sparsity, **way), view=VIEW, seed=0, curves=curves)
