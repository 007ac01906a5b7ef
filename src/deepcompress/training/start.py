"""The network that a training starts from: the `model` section, with the pretrained weights that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.models.build import build
from deepcompress.models.spec import asked
from deepcompress.models.weights import load_pretrained_

if TYPE_CHECKING:
    from deepcompress.models.classifier import Classifier
    from deepcompress.models.spec import Model


def network(model: Model, classes: int) -> Classifier:
    """A network on the CPU; what is not pretrained is drawn from torch's global generator.

    Args:
        model: The section.
        classes: Number of logits.

    Raises:
        UserError: If the weights cannot be had, or do not fit.
    """
    made = build(asked(model, classes))
    if model.weights is not None:
        load_pretrained_(made, model.weights)
    return made
