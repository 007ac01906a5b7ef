"""Exported float files in integers: int8 for integer kernels, or int4 with the integers of the checkpoint.

**int8** (weights and activations): scales of activations are those of the lowest and highest value on training images;
weights have one scale per output channel. The first convolutions' weights are rounded together (rounding.py), because
their errors reach all layers; the last layer gives float32, because logits on 256 levels tie.

**int4** (half a byte per weight): what the checkpoint holds is what the file holds; nothing is rounded a second time.
Linear layers multiply these integers as they are (MatMulNBits, activations in 8 bits); ONNX Runtime has no such kernel
for convolutions, so their weights are multiplied out once, when a program opens the file, and compute in float32.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877;
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (the QDQ format, reduce_range);
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md (com.microsoft.MatMulNBits);
https://onnx.ai/onnx/technical/int4.html.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from deepcompress import files, kept, runtime
from deepcompress.deploy import rounding
from deepcompress.deploy.classifier import INPUT
from deepcompress.deploy.onnx import PREFIX, read, write
from deepcompress.models.quantized_weight import group_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jaxtyping import Float, Int8, UInt8

    from deepcompress.deploy.classifier import Contract
    from deepcompress.models.checkpoint import Checkpoint
    from deepcompress.models.quantized_weight import QuantizedWeight

CALIBRATION_BATCH = 16  # images
# The first convolutions, whose weights are rounded together. Of up to 3,000 training images, over seven models of the
# default, int8 in 7-bit weights then names another class for 0.27 %; for 0.34 % if the first two compute in float32
# instead, which takes 1.4 times as long at batch 32. More than 4 bring nothing.
ROUNDED = 4
HIGHEST = {True: 64, False: 127}  # the largest integer of a weight, by reduce_range
INT8_OPERATORS = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu"]  # not the normalisation, whose input is exact already
CODE = ("deploy/classifier.py", "deploy/integers.py", "deploy/onnx.py")  # decides about a file in int8

INT4_OPSET = 21  # the first with integers of 4 bits
INT4_BITS, INT4_LOWEST = 4, -8
BLOCKS = (16, 32, 64, 128, 256)  # inputs that share a scale, as MatMulNBits takes them
INT8_PRODUCTS = 4  # the accuracy_level at which its kernels multiply integers
CLOSE = 1e-4  # how near an exported weight must be to a multiple of the stored one, of its largest entry


def quantize_int8(
    float_file: str | Path, path: str | Path, *, images: UInt8[np.ndarray, "images 3 size size"], reduce_range: bool
) -> None:
    """Write a file in int8 with the same input, outputs and classes; the same arguments give the same bytes.

    A file of equal arguments is found again in scratch.

    Args:
        float_file: As `export_float` wrote it.
        path: The file to write.
        images: Training images, at least one: a choice on held-out ones would flatter.
        reduce_range: Weights in 7 bits; right on every CPU. Without it, products saturate where VNNI is missing.

    Raises:
        UserError: If `float_file` is no file that this package exported.
    """
    _, contract = read(float_file)
    if len(images) == 0:
        raise ValueError("there are no images to calibrate on")
    calibrate = partial(_calibrated, Path(float_file), Path(path), images, reduce_range, contract)
    inputs = files.sha256(Path(float_file)), hashlib.sha256(images.tobytes()).hexdigest(), images.shape
    parts = *inputs, reduce_range, version("onnxruntime"), onnx.__version__
    folder = runtime.scratch("int8", *parts, code=CODE)
    files.write_bytes(path, kept.content(folder / "int8.npz", calibrate))


def _calibrated(
    float_file: Path,
    path: Path,
    images: UInt8[np.ndarray, "images 3 size size"],
    reduce_range: bool,
    contract: Contract,
) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
        quant_pre_process(float_file, prepared, skip_symbolic_shape=True)
        proto = onnx.load(prepared)
        scales = rounding.round_first_(proto, images, layers=ROUNDED, highest=HIGHEST[reduce_range])
        onnx.save(proto, prepared)
        quantize_static(
            prepared,
            quantized,
            _CalibrationImages(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=INT8_OPERATORS,
            extra_options={
                "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
                "TensorQuantOverrides": {name: list(_channels(steps)) for name, steps in scales.items()},
            },
        )
        write(path, onnx.load(quantized), contract)
    return path.read_bytes()


def _channels(scales: Float[np.ndarray, " outputs"]) -> Iterator[dict[str, Any]]:
    """How onnxruntime takes a weight's scales: a mapping per channel."""
    for scale in scales:
        yield {"axis": 0, "quant_type": QuantType.QInt8, "scale": scale, "zero_point": np.int8(0)}


class _CalibrationImages(CalibrationDataReader):
    """CALIBRATION_BATCH images at a time."""

    def __init__(self, images: UInt8[np.ndarray, "images 3 size size"]) -> None:
        starts = range(0, len(images), CALIBRATION_BATCH)
        self._batches = iter([images[start : start + CALIBRATION_BATCH] for start in starts])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next images by input name; None after the last ones."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def int4_weights(loaded: Checkpoint) -> dict[str, QuantizedWeight]:
    """Name of a weight -> its integers and scales, of each weight that is stored in integers of 4 bits or fewer."""
    return {name: weight for name, weight in loaded.integers.items() if weight.bits <= INT4_BITS and weight.codes.any()}


def quantize_int4(float_file: str | Path, path: str | Path, weights: Mapping[str, QuantizedWeight]) -> None:
    """Write a file with the same input, outputs and classes and half a byte per stored weight.

    A weight that the exporter changed other than by a factor per output, as the folding of a batch norm does, stays
    float32. The same arguments give the same bytes.

    Args:
        float_file: As `export_float` wrote it.
        path: The file to write.
        weights: Of the model that `float_file` was made from; see `int4_weights`.

    Raises:
        UserError: If `float_file` is no file that this package exported.
    """
    proto, contract = read(float_file)
    graph = proto.graph
    floats = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        name = node.input[1] if node.op_type in {"Conv", "Gemm", "MatMul"} else ""
        known = weights.get(name.removeprefix(PREFIX))
        if node.op_type == "MatMul" and name in floats:
            exact = _of_tokens(floats[name], weights)
        else:
            exact = None if known is None or name not in floats else _exported(floats[name], known)
        nodes += [node] if exact is None else _replaced(node, name, exact, floats[name].shape, graph.initializer)
    used = {source for node in nodes for source in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:], proto.opset_import[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    proto.opset_import.extend([helper.make_opsetid("", INT4_OPSET), helper.make_opsetid("com.microsoft", 1)])
    write(path, proto, contract)


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


def _of_tokens(weight: Float[np.ndarray, "inputs outputs"], weights: Mapping[str, QuantizedWeight]) -> _Exported | None:
    """The integers of a layer on tokens, whose weight the exporter turns and leaves without its name."""
    alike = (known for known in weights.values() if known.codes.shape == weight.T.shape)
    found = (_exported(weight.T, known) for known in alike)
    return next((exact for exact in found if exact and _product_block(exact)), None)


def _replaced(
    node: onnx.NodeProto, name: str, exact: _Exported, shape: tuple[int, ...], tensors: list[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """A layer's nodes with its integers in `tensors`, which grow by them."""
    if node.op_type in {"Gemm", "MatMul"} and (block := _product_block(exact)):
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
    halves = (exact.codes - INT4_LOWEST).astype(np.uint8).reshape(outputs, inputs // block, block)
    scales = np.repeat(exact.scales, inputs // block // exact.scales.shape[1], axis=1)
    tensors.append(numpy_helper.from_array(_pairs(halves), f"{name}_codes"))
    tensors.append(numpy_helper.from_array(np.ascontiguousarray(scales).reshape(-1), f"{name}_scales"))
    values, _, *bias = node.input  # the exporter leaves out a bias of zeros
    product = f"{node.output[0]}_product" if bias else node.output[0]
    yield helper.make_node(
        "MatMulNBits",
        [values, f"{name}_codes", f"{name}_scales"],
        [product],
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=INT4_BITS,
        block_size=block,
        accuracy_level=INT8_PRODUCTS,
    )
    if bias:
        yield helper.make_node("Add", [product, *bias], list(node.output))


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
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[1] = weight
    return copy


def _pairs(halves: UInt8[np.ndarray, "... values"]) -> UInt8[np.ndarray, "... bytes"]:
    """Two values of 4 bits in a byte, the first one in the lower half."""
    return halves[..., 0::2] | (halves[..., 1::2] << 4)
