"""What an exported file says of itself, and running it with ONNX Runtime on the CPU. Free of torch and of onnx.

So a program that only predicts loads neither of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepcompress import files
from deepcompress.data.images import WHITE
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

FORMAT = "deepcompress-classifier-1"
INPUT, LOGITS, PROBABILITIES = "images", "logits", "probabilities"
OUTPUTS = (LOGITS, PROBABILITIES)
MAX_SIZE = 2**14  # px
BATCH = 32  # images
ERRORS_ONLY = 3  # a level of ONNX Runtime's log
LONGEST_REASON = 500  # characters


@dataclass(frozen=True)
class Contract:
    """How a program must call an exported file, and what its outputs mean; kept as text in the file's metadata.

    Attributes:
        classes: Names, in the order of the logits.
        image_size: Side of the square input [px].
        stored_size: Side of the squares that images were cut to in training, before they took `image_size` [px].
        white: The value of 16-bit grey images that became 255.
    """

    classes: tuple[str, ...]
    image_size: int
    stored_size: int
    white: int = WHITE

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
        if self.white != WHITE:
            values["white"] = str(self.white)
        return dict(sorted((words | values).items()))

    @classmethod
    def from_metadata(cls, path: str | Path, metadata: Mapping[str, str]) -> Contract:
        """The inverse of `to_metadata`.

        Raises:
            UserError: If the file at `path` is not one that this package exported, or its metadata is damaged.
        """
        if metadata.get("format") != FORMAT:
            raise UserError(f"{path}: not a deepcompress export (its metadata has no format {FORMAT})")
        try:
            classes = json.loads(metadata["classes"])
            image_size, stored_size = (int(metadata[key]) for key in ("image_size", "stored_size"))
            white = int(metadata.get("white", WHITE))
            possible = all(0 < size <= MAX_SIZE for size in (image_size, stored_size)) and 0 < white <= WHITE
            if not isinstance(classes, list) or not classes or not possible:
                raise ValueError("no classes, or no sizes of images")
            return cls(tuple(map(str, classes)), image_size, stored_size, white)
        except (KeyError, ValueError, TypeError, RecursionError):
            raise UserError(f"{path}: damaged metadata; run the export stage again") from None


class OnnxClassifier:
    """An ONNX file in ONNX Runtime.

    Args:
        path: A file that the export stage wrote.
        threads: Of one operation; 0: as many as ONNX Runtime sees fit.
        content: What was unpacked from `path`; None: the file is ONNX itself.

    Raises:
        UserError: If the file is missing, damaged, or was not written by the export stage; damage in the middle of a
            graph may show only in `run`.
    """

    def __init__(self, path: str | Path, threads: int = 0, content: bytes | None = None) -> None:
        import onnxruntime

        files.require_file(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, ERRORS_ONLY
        options.use_deterministic_compute = True
        try:
            self._session = onnxruntime.InferenceSession(
                content or str(path), options, providers=["CPUExecutionProvider"]
            )
            metadata = self._session.get_modelmeta().custom_metadata_map
            inputs = {value.name: (value.type, *value.shape[1:]) for value in self._session.get_inputs()}
            outputs = {value.name: (value.type, *value.shape[1:]) for value in self._session.get_outputs()}
        except Exception as error:  # a class of its own for each reason, none of them public
            raise UserError(f"{path}: no ONNX file that can be run ({_short(error)})") from None
        self._path, self.contract = path, Contract.from_metadata(path, metadata)
        size, classes = self.contract.image_size, len(self.contract.classes)
        expected = dict.fromkeys(OUTPUTS, ("tensor(float)", classes))
        if inputs != {INPUT: ("tensor(uint8)", 3, size, size)} or not expected.items() <= outputs.items():
            raise UserError(f"{path}: its input and outputs are not those that its metadata tell of")

    def run(
        self, images: UInt8[np.ndarray, "images 3 size size"], output: str = LOGITS
    ) -> Float[np.ndarray, "images classes"]:
        """Logits, or what else `output` names, of at least one image; BATCH images at a time."""
        starts = range(0, len(images), BATCH)
        try:
            parts = [self._session.run([output], {INPUT: images[start : start + BATCH]})[0] for start in starts]
        except Exception as error:  # as above: damaged weights or operators may show only here
            raise UserError(f"{self._path}: cannot be run ({_short(error)})") from None
        values = np.concatenate(parts)
        if values.shape != (len(images), len(self.contract.classes)):
            raise UserError(f"{self._path}: gave {values.shape} for {len(images)} images; it is damaged")
        return values


def _short(error: Exception) -> str:
    """What ONNX Runtime says, without the rest of a message that quotes a damaged file."""
    return str(error)[:LONGEST_REASON]
