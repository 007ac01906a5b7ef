"""Run an exported file with ONNX Runtime on the CPU. Free of torch and of onnx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.deploy.contract import INPUT, LOGITS, OUTPUTS, from_metadata
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

BATCH = 32
ERRORS_ONLY = 3
LONGEST_REASON = 500  # characters


class Classifier:
    """An exported model, ready to answer.

    Args:
        path: An ONNX file that the export stage wrote.
        threads: Of one operation; 0: as many as ONNX Runtime sees fit.

    Raises:
        UserError: If the file is missing, damaged, or was not written by the export stage; damage in the middle of a
            graph may show only when it answers.
    """

    def __init__(self, path: str | Path, threads: int = 0) -> None:
        import onnxruntime

        if not Path(path).is_file():
            raise UserError(f"{path}: no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, ERRORS_ONLY
        options.use_deterministic_compute = True
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            metadata = self._session.get_modelmeta().custom_metadata_map
            inputs = {one.name: (one.type, *one.shape[1:]) for one in self._session.get_inputs()}
            outputs = {one.name: (one.type, *one.shape[1:]) for one in self._session.get_outputs()}
        except Exception as error:  # a class of its own for each reason, none of them public
            raise UserError(f"{path}: no ONNX file that can be run ({_short(error)})") from None
        self._path, self.contract = path, from_metadata(path, metadata)
        size, classes = self.contract.image_size, len(self.contract.classes)
        wanted = dict.fromkeys(OUTPUTS, ("tensor(float)", classes))
        if inputs != {INPUT: ("tensor(uint8)", 3, size, size)} or not wanted.items() <= outputs.items():
            raise UserError(f"{path}: its input and outputs are not those that its metadata tell of")

    def answers(
        self, images: UInt8[np.ndarray, "images 3 size size"], output: str = LOGITS
    ) -> Float[np.ndarray, "images classes"]:
        """Logits, or what else `output` names, of at least one image; BATCH images at a time."""
        starts = range(0, len(images), BATCH)
        try:
            parts = [self._session.run([output], {INPUT: images[start : start + BATCH]})[0] for start in starts]
        except Exception as error:  # as above: damaged weights or operators may show only here
            raise UserError(f"{self._path}: cannot be run ({_short(error)})") from None
        found = np.concatenate(parts)
        if found.shape != (len(images), len(self.contract.classes)):
            raise UserError(f"{self._path}: gave {found.shape} for {len(images)} images; it is damaged")
        return found


def _short(error: Exception) -> str:
    """What ONNX Runtime says, without the rest of a message that quotes a damaged file."""
    return str(error)[:LONGEST_REASON]
