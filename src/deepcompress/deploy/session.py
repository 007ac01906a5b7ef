"""Run an exported file with ONNX Runtime on the CPU. Free of torch and of onnx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.deploy.contract import INPUT, LOGITS, Contract, from_metadata
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

BATCH = 32
ERRORS_ONLY = 3


class Classifier:
    """An exported model, ready to answer.

    Args:
        path: An ONNX file that the export stage wrote.
        threads: Of one operation; 0: as many as ONNX Runtime sees fit.

    Raises:
        UserError: If the file is missing, damaged, or was not written by the export stage.
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
        except Exception as error:  # a class of its own for each reason, none of them public
            raise UserError(f"{path}: no ONNX file that can be run ({error})") from None
        self.contract: Contract = from_metadata(path, self._session.get_modelmeta().custom_metadata_map)

    def answers(
        self, images: UInt8[np.ndarray, "images 3 size size"], output: str = LOGITS
    ) -> Float[np.ndarray, "images classes"]:
        """Logits, or what else `output` names, of at least one image; BATCH images at a time."""
        starts = range(0, len(images), BATCH)
        parts = [self._session.run([output], {INPUT: images[start : start + BATCH]})[0] for start in starts]
        return np.concatenate(parts)
