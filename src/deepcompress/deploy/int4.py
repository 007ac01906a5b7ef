"""An exported float file with its linear layers' weights in 4 bits; activations and convolutions stay float32.

For networks whose bytes lie in linear layers and that answer one image at a time: reading weights is what they
wait for. Needs no images.
Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "Quantize to Int4/UInt4".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deepcompress.deploy import contract, onnx_file
from deepcompress.deploy.quiet import quiet

if TYPE_CHECKING:
    from pathlib import Path

INT8_PRODUCTS = 4  # the accuracy_level at which kernels multiply integers


def quantize_int4_linear(float_file: str | Path, path: str | Path, *, group_size: int = 32) -> None:
    """Write a file whose linear layers hold 4-bit weights, one scale per `group_size` inputs of an output.

    Args:
        float_file: As `export_float` wrote it.
        path: The file to write; the same input, outputs and classes.
        group_size: A power of two, 16 or more.

    Raises:
        UserError: If `float_file` is no file that this package exported.
    """
    from onnxruntime.quantization import matmul_nbits_quantizer

    source = onnx.load(float_file)
    said = contract.from_metadata(float_file, {entry.key: entry.value for entry in source.metadata_props})
    _split_gemms_(source.graph)
    quantizer = matmul_nbits_quantizer.MatMulNBitsQuantizer(
        source, block_size=group_size, is_symmetric=True, accuracy_level=INT8_PRODUCTS
    )
    with quiet(matmul_nbits_quantizer.__name__):
        quantizer.process()
    onnx_file.write(path, quantizer.model.model, said)


def _split_gemms_(graph: onnx.GraphProto) -> None:
    """Replace `Gemm` (weight stored as outputs x inputs) by `MatMul` and `Add`, which is what the quantizer finds."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type != "Gemm":
            nodes.append(node)
            continue
        values, weight, *bias = node.input  # the exporter leaves out a bias of zeros
        turned = np.ascontiguousarray(numpy_helper.to_array(weights[weight]).T)
        weights[weight].CopyFrom(numpy_helper.from_array(turned, weight))
        product = f"{node.output[0]}_product" if bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [values, weight], [product], name=f"{node.name}_matmul"))
        if bias:
            nodes.append(helper.make_node("Add", [product, *bias], list(node.output), name=f"{node.name}_add"))
    del graph.node[:]
    graph.node.extend(nodes)
