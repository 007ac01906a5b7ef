"""An exported float file that keeps the integers of its model, where they fit into 4 bits: half a byte per weight.

What the checkpoint holds is what the file holds: nothing is rounded a second time. Linear layers multiply these
integers as they are (MatMulNBits, activations in 8 bits); ONNX Runtime has no such kernel for convolutions, so their
weights are multiplied out once, when a program opens the file, and compute in float32. Needs no images.
Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md (com.microsoft.MatMulNBits) and
https://onnx.ai/onnx/technical/int4.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deepcompress.deploy import contract, onnx_file
from deepcompress.deploy.graph import PREFIX
from deepcompress.models import checkpoint
from deepcompress.models.quantized_weight import group_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from jaxtyping import Float, Int8, UInt8

    from deepcompress.models.checkpoint import Checkpoint
    from deepcompress.models.quantized_weight import QuantizedWeight

OPSET = 21  # the first with integers of 4 bits
BITS, LOWEST = 4, -8
BLOCKS = (16, 32, 64, 128, 256)  # inputs that share a scale, as MatMulNBits takes them
INT8_PRODUCTS = 4  # the accuracy_level at which its kernels multiply integers
CLOSE = 1e-4  # how near an exported weight must be to a multiple of the stored one, of its largest entry


def stored(path: str | Path, loaded: Checkpoint) -> dict[str, QuantizedWeight]:
    """Name of a weight -> its integers and scales, of each weight that is stored in integers of 4 bits or fewer.

    Args:
        path: The checkpoint.
        loaded: The same, as `checkpoint.load` checked it.
    """
    weights = checkpoint.quantized_weights(path, loaded)
    return {name: weight for name, weight in weights.items() if weight.bits <= BITS and weight.codes.any()}


def quantize_int4(float_file: str | Path, path: str | Path, weights: Mapping[str, QuantizedWeight]) -> None:
    """Write a file with the same input, outputs and classes and half a byte per stored weight.

    A weight that the exporter changed other than by a factor per output, as the folding of a batch norm does, stays
    float32. The same arguments give the same bytes.

    Args:
        float_file: As `export_float` wrote it.
        path: The file to write.
        weights: Of the model that `float_file` was made from; see `stored`.

    Raises:
        UserError: If `float_file` is no file that this package exported.
    """
    proto = onnx.load(float_file)
    said = contract.from_metadata(float_file, {entry.key: entry.value for entry in proto.metadata_props})
    graph = proto.graph
    floats = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        name = node.input[1] if node.op_type in {"Conv", "Gemm"} else ""
        known = weights.get(name.removeprefix(PREFIX))
        exact = None if known is None or name not in floats else _exported(floats[name], known)
        nodes += [node] if exact is None else _replaced(node, name, exact, floats[name].shape, graph.initializer)
    used = {source for node in nodes for source in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:], proto.opset_import[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    proto.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)])
    onnx_file.write(path, proto, said)


@dataclass(frozen=True)
class _Exported:
    """The integers of an exported weight, with the scales that the exporter left it."""

    codes: Int8[np.ndarray, "outputs inputs"]
    scales: Float[np.ndarray, "outputs groups"]

    @property
    def block(self) -> int:
        """Inputs that share a scale; fewer in the last group of a row that they do not divide."""
        return group_size(self.codes.shape[1], self.scales.shape[1])

    @property
    def weight(self) -> Float[np.ndarray, "outputs inputs"]:
        """Each integer times its scale."""
        return self.codes * np.repeat(self.scales, self.block, axis=1)[:, : self.codes.shape[1]]


def _exported(weight: Float[np.ndarray, "outputs ..."], known: QuantizedWeight) -> _Exported | None:
    """The stored integers with the scales that an exported weight has; None if it is no multiple of theirs."""
    stored = _Exported(known.codes.flatten(1).numpy(), known.scales.float().numpy())
    rows, own = weight.reshape(len(weight), -1), stored.weight
    if rows.shape != own.shape:
        return None
    factors = (rows * own).sum(1, keepdims=True) / np.maximum((own * own).sum(1, keepdims=True), 1e-30)
    exact = _Exported(stored.codes, (stored.scales * factors).astype(np.float32))
    return exact if np.abs(exact.weight - rows).max() <= CLOSE * np.abs(rows).max() else None


def _replaced(
    node: onnx.NodeProto, name: str, exact: _Exported, shape: tuple[int, ...], tensors: list[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """A layer's nodes with its integers in `tensors`, which grow by them."""
    if node.op_type == "Gemm" and (block := _product_block(exact)):
        return list(_product(node, name, exact, block, tensors))
    return [*_multiplied_out(name, exact, shape, tensors), _with_weight(node, f"{name}_float")]


def _product_block(exact: _Exported) -> int | None:
    """Inputs in a block of MatMulNBits, if it can hold such groups: those of a group, or a part of the only one."""
    inputs = exact.codes.shape[1]
    fitting = [size for size in BLOCKS if inputs % size == 0]
    if exact.scales.shape[1] == 1:
        return fitting[-1] if fitting else None
    return exact.block if exact.block in fitting else None


def _product(
    node: onnx.NodeProto, name: str, exact: _Exported, block: int, tensors: list[onnx.TensorProto]
) -> Iterator[onnx.NodeProto]:
    """Nodes of a linear layer that multiplies integers."""
    outputs, inputs = exact.codes.shape
    halves = (exact.codes - LOWEST).astype(np.uint8).reshape(outputs, inputs // block, block)
    scales = np.repeat(exact.scales, inputs // block // exact.scales.shape[1], axis=1)
    tensors.append(numpy_helper.from_array(_pairs(halves), f"{name}_codes"))
    tensors.append(numpy_helper.from_array(np.ascontiguousarray(scales).reshape(-1), f"{name}_scales"))
    values, _, *bias = node.input  # the exporter leaves out a bias of zeros
    made = f"{node.output[0]}_product" if bias else node.output[0]
    yield helper.make_node(
        "MatMulNBits",
        [values, f"{name}_codes", f"{name}_scales"],
        [made],
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=4,
        block_size=block,
        accuracy_level=INT8_PRODUCTS,
    )
    if bias:
        yield helper.make_node("Add", [made, *bias], list(node.output))


def _multiplied_out(
    name: str, exact: _Exported, shape: tuple[int, ...], tensors: list[onnx.TensorProto]
) -> Iterator[onnx.NodeProto]:
    """Nodes that give a weight in float32, from constants alone: a session computes them once, when it starts.

    Cast and Mul, not DequantizeLinear, which sessions repeat for every image unless an option tells them not to.
    """
    outputs, inputs = exact.codes.shape
    grouped = (outputs, exact.scales.shape[1], exact.block)
    filled = np.pad(exact.codes, ((0, 0), (0, grouped[1] * grouped[2] - inputs)))
    pairs = _pairs(np.append(filled.reshape(-1), np.zeros(filled.size % 2, np.int8)).astype(np.uint8) & 15)
    tensors.append(helper.make_tensor(f"{name}_codes", TensorProto.INT4, grouped, pairs.tobytes(), raw=True))
    constants = {
        "scales": exact.scales[:, :, None],
        "rows": np.array([outputs, -1]),
        "start": np.array([0]),
        "end": np.array([inputs]),
        "axis": np.array([1]),
        "shape": np.array(shape),
    }
    for part, values in constants.items():
        tensors.append(numpy_helper.from_array(values, f"{name}_{part}"))
    yield helper.make_node("Cast", [f"{name}_codes"], [f"{name}_cast"], to=TensorProto.FLOAT)
    for operator, sources, result in (
        ("Mul", ("cast", "scales"), "product"),
        ("Reshape", ("product", "rows"), "filled"),
        ("Slice", ("filled", "start", "end", "axis"), "cut"),
        ("Reshape", ("cut", "shape"), "float"),
    ):
        yield helper.make_node(operator, [f"{name}_{source}" for source in sources], [f"{name}_{result}"])


def _with_weight(node: onnx.NodeProto, weight: str) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.input[1] = weight
    return made


def _pairs(halves: UInt8[np.ndarray, "... values"]) -> UInt8[np.ndarray, "... bytes"]:
    """Two values of 4 bits in a byte, the first one in the lower half."""
    return halves[..., 0::2] | (halves[..., 1::2] << 4)
