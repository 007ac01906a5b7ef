"""Whether an exported file answers as the model does that it was made from, image by image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from deepcompress.deploy.contract import LOGITS
from deepcompress.deploy.pixels import channels_first
from deepcompress.deploy.session import BATCH, Classifier
from deepcompress.errors import UserError
from deepcompress.measure import accuracy

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, UInt8
    from torch import Tensor

    from deepcompress.data.store import Arrays
    from deepcompress.deploy.contract import Contract


class Answering(Protocol):
    """An exported file that is open in a runtime."""

    contract: Contract

    def answers(
        self, images: UInt8[np.ndarray, "images 3 size size"], output: str = LOGITS
    ) -> Float[np.ndarray, "images classes"]:
        """Logits, or what else `output` names, of at least one image."""


@dataclass(frozen=True)
class Parity:
    """How far a file is from its model.

    Attributes:
        n: Images that both answered.
        agreement_pct: Images on which both name the same class [%].
        largest_difference: Of any logit.
        top1_pct: Images that the file gets right [%].
        model_top1_pct: Images that the model gets right [%].
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


def parity(path: str | Path, logits: Float[Tensor, "images classes"], images: Arrays) -> Parity:
    """Compare a file with its model's answers to the same images.

    Args:
        path: An exported file.
        logits: The model's, from `accuracy.logits`.
        images: What the model answered, as stored.

    Raises:
        UserError: If the file is missing or damaged.
    """
    return compared(Classifier(path), logits, images)


def compared(classifier: Answering, logits: Float[Tensor, "images classes"], images: Arrays) -> Parity:
    """The same of a file that is open already, in whichever runtime."""
    labels = torch.from_numpy(images.labels.copy())
    parts = (images.images[start : start + BATCH] for start in range(0, len(images), BATCH))
    side = classifier.contract.image_size
    theirs = torch.from_numpy(np.concatenate([classifier.answers(channels_first(part, side)) for part in parts]))
    return Parity(
        n=len(labels),
        agreement_pct=100 * accuracy.top1_agreement(logits, theirs),
        largest_difference=(logits - theirs).abs().max().item(),
        top1_pct=_top1_pct(theirs, labels),
        model_top1_pct=_top1_pct(logits, labels),
    )


def require(found: Parity, least_pct: float, *, name: str, key: str, images: str = "held-out images") -> None:
    """Refuse a file that answers other than its model more often than allowed.

    Args:
        found: Of the file.
        least_pct: Lowest agreement allowed [%].
        name: The file's, for the message.
        key: The params key that allows so much.
        images: What both answered, for the message.

    Raises:
        UserError: If it does, or if the answers are no numbers.
    """
    if found.agreement_pct < least_pct or math.isnan(found.largest_difference):
        raise UserError(
            f"{name} answers as its model on {found.agreement_pct:.2f} % of {found.n} {images} (largest "
            f"difference of a logit {found.largest_difference:.3g}), but params.yaml: {key} is {least_pct:g}"
        )


def _top1_pct(logits: Float[Tensor, "images classes"], labels: Tensor) -> float:
    return 100 * accuracy.top_k_correct(logits, labels).double().mean().item()
