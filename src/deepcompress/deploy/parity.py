"""Whether an exported file agrees with the checkpoint that it was made from, image by image."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepcompress.deploy.classifier import BATCH
from deepcompress.deploy.onnx import channels_first
from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.measure.statistics import wilson_interval

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.data.store import Arrays
    from deepcompress.deploy.classifier import OnnxClassifier
    from deepcompress.deploy.executorch import PteClassifier

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parity:
    """How far a file is from its checkpoint.

    Attributes:
        n: Images that both classified.
        agreement_pct: Images on which both name the same class [%].
        largest_difference: Of any logit.
        top1_pct: Images that the file gets right [%].
        model_top1_pct: Images that the checkpoint gets right [%].
    """

    n: int
    agreement_pct: float
    largest_difference: float
    top1_pct: float
    model_top1_pct: float

    def row(self) -> dict[str, Any]:
        """As table columns, rounded to what the number of images can tell."""
        digits = {"largest_difference": 6}
        return {name: round(value, digits.get(name, 2)) for name, value in vars(self).items()}


def compare(
    classifier: OnnxClassifier | PteClassifier, logits: Float[Tensor, "images classes"], images: Arrays
) -> Parity:
    """Compare a file with its checkpoint on the same images.

    Args:
        classifier: The file, open in whichever runtime.
        logits: The checkpoint's, from `accuracy.logits`.
        images: Those that the logits are of, as stored; read BATCH at a time.
    """
    labels = torch.from_numpy(images.labels.copy())
    parts = (images.images[start : start + BATCH] for start in range(0, len(images), BATCH))
    side = classifier.contract.image_size
    file_logits = torch.from_numpy(np.concatenate([classifier.run(channels_first(part, side)) for part in parts]))
    return Parity(
        n=len(labels),
        agreement_pct=100 * accuracy.top1_agreement(logits, file_logits),
        largest_difference=(logits - file_logits).abs().max().item(),
        top1_pct=_top1_pct(file_logits, labels),
        model_top1_pct=_top1_pct(logits, labels),
    )


def require(parity: Parity, required: tuple[str, float], *, name: str, images: str = "held-out images") -> None:
    """Refuse a file that is shown to disagree with its checkpoint more often than allowed.

    Shown is what the 95 % interval of the agreement says: of few images one answer is a large share. A file below the
    limit whose interval reaches it is let through with a warning.

    Args:
        parity: Of the file.
        required: The params key of the limit, and the lowest agreement that it allows [%].
        name: The file's, for the message.
        images: What both classified, for the message.

    Raises:
        UserError: If it does, or if a logit is not a number.
    """
    key, least_pct = required
    _, high = wilson_interval(round(parity.agreement_pct * parity.n / 100), parity.n)
    found = (
        f"{name} agrees with the checkpoint on {parity.agreement_pct:.2f} % of {parity.n} {images} (at least "
        f"{least_pct:g} % required, params.yaml: {key}; largest difference of a logit {parity.largest_difference:.3g})"
    )
    if 100 * high < least_pct or math.isnan(parity.largest_difference):
        raise UserError(found)
    if parity.agreement_pct < least_pct:
        log.warning("%s; too few images to tell (95 %% interval up to %.2f %%)", found, 100 * high)


def _top1_pct(logits: Float[Tensor, "images classes"], labels: Tensor) -> float:
    return 100 * accuracy.top_k_correct(logits, labels).double().mean().item()
