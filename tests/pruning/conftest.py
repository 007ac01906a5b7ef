"""The `prune` section, noise to take gradients and statistics on, and a network that was pruned as they say."""

from __future__ import annotations

import copy
from typing import Any

from deepcompress import params
from deepcompress.models.vgg import Classifier, prunable_layers
from deepcompress.pruning import prune
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


def pruned(model: Classifier, method: str, sparsity: float = 0.4, **way: Any) -> prune.Pruned:
    """By made-up curves, where the allocation reads some."""
    curves = {name: (GRID, [80 - 10 * s * place for s in GRID]) for place, name in enumerate(prunable_layers(model))}
    return prune.prune(model, FIT, settings(method, sparsity, **way), view=VIEW, seed=0, curves=curves)
