"""An exported float file in 8-bit integers: weights and activations, for the integer kernels of ONNX Runtime.

Scales of activations are those of the lowest and highest value on training images; weights have one scale per
output channel. The first two convolutions compute in float32 (on CIFAR-100 that takes the agreement with the float
file from 96.3 to 98.2 %), and the last layer answers in float32, because logits on 256 levels tie.
Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877, and
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (the QDQ format, reduce_range).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from deepcompress.deploy import contract, onnx_file

if TYPE_CHECKING:
    from jaxtyping import UInt8
BATCH = 16
FLOAT_CONVOLUTIONS = 2  # the first ones: their errors reach all others, and they hold few weights
LAYERS = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu"]  # not the normalisation, whose input is exact already


class Pixels(CalibrationDataReader):
    """Hands images to the calibration, BATCH at a time."""

    def __init__(self, images: UInt8[np.ndarray, "images 3 size size"]) -> None:
        self._parts = iter([images[start : start + BATCH] for start in range(0, len(images), BATCH)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next images by input name; None after the last ones."""
        part = next(self._parts, None)
        return None if part is None else {contract.INPUT: part}


def quantize_int8(
    float_file: str | Path, path: str | Path, *, images: UInt8[np.ndarray, "images 3 size size"], reduce_range: bool
) -> None:
    """Write a file in int8 with the same input, outputs and classes; the same arguments give the same bytes.

    Args:
        float_file: As `export_float` wrote it.
        path: The file to write.
        images: Training images, at least one: a choice on held-out ones would flatter.
        reduce_range: Weights in 7 bits; right on every CPU. Without it, products saturate where VNNI is missing.

    Raises:
        UserError: If `float_file` is no file that this package exported.
    """
    source = onnx.load(float_file)
    said = contract.from_metadata(float_file, {entry.key: entry.value for entry in source.metadata_props})
    if len(images) == 0:
        raise ValueError("there are no images to calibrate on")
    extra: dict[str, Any] = {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]}
    with tempfile.TemporaryDirectory() as folder:
        prepared, made = Path(folder, "prepared.onnx"), Path(folder, "made.onnx")
        quant_pre_process(float_file, prepared, skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Conv"]
        quantize_static(
            prepared,
            made,
            Pixels(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=LAYERS,
            nodes_to_exclude=convolutions[:FLOAT_CONVOLUTIONS],
            extra_options=extra,
        )
        onnx_file.write(path, onnx.load(made), said)
