"""What an exported file says of itself: its input, its output and its classes, as text in the ONNX metadata.

Free of torch and of onnx, so that a program that only predicts loads neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepcompress.errors import UserError

FORMAT = "deepcompress-classifier-1"
INPUT, LOGITS, PROBABILITIES = "images", "logits", "probabilities"
OUTPUTS = (LOGITS, PROBABILITIES)
MAX_SIZE = 2**14  # px


@dataclass(frozen=True)
class Contract:
    """How a program must call an exported file, and what the answer means.

    Attributes:
        classes: Names, in the order of the logits.
        image_size: Side of the square input [px].
        stored_size: Side of the squares that images were cut to in training, before they took `image_size` [px].
    """

    classes: tuple[str, ...]
    image_size: int
    stored_size: int

    @property
    def sentences(self) -> dict[str, str]:
        """What goes in and what comes out, in words."""
        side, classes = self.image_size, len(self.classes)
        return {
            INPUT: f"uint8 (n, 3, {side}, {side}): RGB pixels 0..255, channels first; normalisation is in the graph",
            LOGITS: f"float32 (n, {classes}): one per class, before softmax",
            PROBABILITIES: f"float32 (n, {classes}): softmax of the logits",
        }

    def to_metadata(self) -> dict[str, str]:
        """Text values under keys in alphabetical order."""
        words = {f"contract.{name}": sentence for name, sentence in self.sentences.items()}
        values = {
            "format": FORMAT,
            "classes": json.dumps(self.classes, ensure_ascii=False),
            "image_size": str(self.image_size),
            "stored_size": str(self.stored_size),
        }
        return dict(sorted((words | values).items()))


def from_metadata(path: str | Path, metadata: Mapping[str, str]) -> Contract:
    """The inverse of `to_metadata`.

    Raises:
        UserError: If the file at `path` is not one that this package exported, or its metadata is damaged.
    """
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: no model that this pipeline exported (its metadata has no format {FORMAT})")
    try:
        classes, sizes = json.loads(metadata["classes"]), [int(metadata[key]) for key in ("image_size", "stored_size")]
        if not isinstance(classes, list) or not classes or not all(0 < size <= MAX_SIZE for size in sizes):
            raise ValueError("no classes, or no sizes of images")
        return Contract(tuple(map(str, classes)), *sizes)
    except (KeyError, ValueError, TypeError, RecursionError):
        raise UserError(f"{path}: damaged metadata; run the export stage again") from None
