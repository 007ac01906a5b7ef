"""A dense model, pruned: as zeros in its old shape, and as what is then trained on."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepcompress.measure import macs, storage, weights
from deepcompress.pruning import masks
from deepcompress.pruning.choosing import choose
from deepcompress.pruning.evidence import gradients
from deepcompress.pruning.layers import in_scope, judged
from deepcompress.pruning.surgery import remove_channels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deepcompress.data.batches import View
    from deepcompress.data.store import Fit
    from deepcompress.models.classifier import Classifier
    from deepcompress.pruning.allocation import Curve
    from deepcompress.pruning.masks import Masks
    from deepcompress.pruning.settings import Prune

    Row = dict[str, Any]


@dataclass(frozen=True)
class Pruned:
    """What pruning made of a model.

    Attributes:
        masked: In the old shape, with zeros; as accurate as pruning alone leaves it.
        start: What fine-tuning starts from: single weights as zeros, channels removed.
        trained: A copy of it, to be fine-tuned in place.
        held: Which of its parameters must stay zero.
        table: Assigned and achieved sparsity per layer; see `choosing.Choice`.
    """

    masked: Classifier
    start: Classifier
    trained: Classifier
    held: Masks
    table: list[Row]

    def after_step(self) -> Callable[[], None] | None:
        """What training calls after each step, so that zeros stay zero."""
        return masks.hold(self.trained, self.held) if self.held else None


def prune(
    dense: Classifier,
    images: Fit,
    settings: Prune,
    *,
    view: View,
    seed: int,
    curves: Mapping[str, Curve],
) -> Pruned:
    """Prune a copy of a model; the model itself stays as it is.

    Args:
        dense: On the device that runs it.
        images: For criteria that need gradients.
        settings: Method, sparsity, and how the method chooses.
        view: How images become the model's input.
        seed: For criteria that draw, and for the draw of images.
        curves: Of `sensitivity.curves`.

    Raises:
        UserError: If the sparsity is out of reach or a layer unknown.
    """
    method, way = settings.method, settings.way(settings.method)
    layers = judged(dense, method, in_scope(dense, method, way.scope))
    taken = gradients(way.criterion, dense, layers, images, settings.scoring, view=view, seed=seed)
    choice = choose(dense, method, way, settings.sparsity, seed=seed, curves=curves, gradients=taken)
    masked = copy.deepcopy(dense)
    masks.apply_(masked, choice.masks)
    if method == "structured":
        smaller = remove_channels(masked, masks.kept_channels(masked, choice.masks))
        return Pruned(masked, smaller, copy.deepcopy(smaller), {}, choice.table)
    return Pruned(masked, masked, copy.deepcopy(masked), choice.masks, choice.table)


def tables(dense: Classifier, pruned: Pruned) -> dict[str, list[Row]]:
    """What there is to tell when training has ended, by name of table.

    Args:
        dense: The model before.
        pruned: Its model trained.

    Returns:
        `allocation`: a row per layer; `weights`: histograms; `storage`: sizes; the latter two for each of the
        states dense, masked and trained.
    """
    states = {"dense": dense, "masked": pruned.masked, "trained": pruned.trained}
    edges = weights.edges(dense)
    histograms = [{"state": s, **row} for s, model in states.items() for row in weights.histograms(model, edges)]
    sizes = [{"state": state, **_size(model)} for state, model in states.items()]
    return {"allocation": pruned.table, "weights": histograms, "storage": sizes}


def _size(model: Classifier) -> Row:
    counts = macs.parameters(model)
    return {
        "parameters": counts["total"],
        "weights": counts["weights"],
        "nonzero_weights": counts["nonzero"],
        "macs": sum(macs.layer_macs(model).values()),
        **storage.weights_mib(model),
        **storage.payload_bytes(model),
    }
