"""Exported float files in integers: int8 for integer kernels, or int4 with the integers of the checkpoint.

**int8** (weights and activations): scales of activations are those of the lowest and highest value on training images;
weights have one scale per output channel; the last layer gives float32, because logits on 256 levels tie. The first
convolutions' weights are rounded together, because their errors reach all layers: these have few weights per output and
inputs that rise and fall together, as neighbouring pixels do, so that errors of weights that are rounded one by one add
up. Column after column is rounded, and each error is shifted onto the columns yet to come, as far as the second moment
H of the layer's inputs says that they can take it. Of several scales per output channel the one with the lowest output
error stays.

**int4** (half a byte per weight): what the checkpoint holds is what the file holds; nothing is rounded a second time.
Linear layers multiply these integers as they are (MatMulNBits, activations in 8 bits); ONNX Runtime has no such kernel
for convolutions, so their weights are multiplied out once, when a program opens the file, and compute in float32.

Source: Jacob et al., CVPR 2018, https://arxiv.org/abs/1712.05877;
rounding together: Frantar et al., GPTQ, ICLR 2023, https://arxiv.org/abs/2210.17323, algorithm 1;
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (the QDQ format, reduce_range);
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md (com.microsoft.MatMulNBits);
https://onnx.ai/onnx/technical/int4.html.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from deepcompress import files, runtime
from deepcompress.deploy.classifier import INPUT, Contract
from deepcompress.deploy.handover import PREFIX, dequantized
from deepcompress.deploy.onnx import channels_first, export_checkpoint, read, write
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.models.quantized_weight import QuantizedWeight, group_size

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, UInt8

    from deepcompress.data.store import Meta
    from deepcompress.deploy.settings import Deploy
    from deepcompress.models.checkpoint import Checkpoint
    from deepcompress.models.records import Weight

    Pixels = UInt8[np.ndarray, "images 3 size size"]

NAMES = ("float.onnx", "int8.onnx", "int4.onnx")
CALIBRATION_BATCH = 16  # images
# The first convolutions, whose weights are rounded together. Of up to 3,000 training images, over seven models of the
# default, int8 in 7-bit weights then names another class for 0.27 %; for 0.34 % if the first two compute in float32
# instead, which takes 1.4 times as long at batch 32. More than 4 bring nothing.
ROUNDED = 4
HIGHEST = {True: 64, False: 127}  # the largest integer of a weight, by reduce_range
IMAGES, POSITIONS = 64, 256  # that H is estimated on, and windows of each
DAMPING = 0.01  # of the mean of H's diagonal, added to it: the paper's value
SHRUNK = (1.0, 0.9, 0.8)  # scales to try, of the one that holds the largest weight
LONGEST_ROW = 4608  # weights per output above which a layer is left to be rounded to nearest
INT8_OPERATORS = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu"]  # not the normalisation, whose input is exact already
CHANNEL = {"axis": 0, "quant_type": QuantType.QInt8, "zero_point": np.int8(0)}  # for onnxruntime, but for its scale
CODE = ("deploy/classifier.py", "deploy/integers.py", "deploy/onnx.py")  # decides about a file in int8

INT4_OPSET = 21  # the first with integers of 4 bits
INT4_BITS, INT4_LOWEST = 4, -8
BLOCKS = (16, 32, 64, 128, 256)  # inputs that share a scale, as MatMulNBits takes them
INT8_PRODUCTS = 4  # the accuracy_level at which its kernels multiply integers
CLOSE = 1e-4  # how near an exported weight must be to a multiple of the stored one, of its largest entry


@dataclass(frozen=True, eq=False)
class Deployable:
    """A checkpoint on its way into engines: its ONNX files, each written when it is first asked for."""

    path: Path  # the checkpoint
    images: UInt8[np.ndarray, "images height width 3"]  # stored training images, for the ranges of int8 activations
    meta: Meta  # of these; its sizes go into the files
    settings: Deploy  # how int8 files are made
    folder: Path  # for the files that engines read; exists while they run
    threads: int = 1  # of every engine
    always_int8: bool = False  # whether there is an int8 form although the model's own weights are no integers
    names: tuple[str, str, str] = NAMES  # of the files

    @cached_property
    def loaded(self) -> Checkpoint:
        """What the checkpoint holds."""
        return checkpoint.load(self.path)

    @cached_property
    def calibration(self) -> Pixels:
        """The images as the model takes them."""
        return channels_first(self.images, self.loaded.view.size)

    @cached_property
    def float_file(self) -> Path:
        """The model as ONNX in float32."""
        path, meta = self.folder / self.names[0], self.meta
        export_checkpoint(self.path, self.loaded, path, stored_size=meta.image_size, white=meta.white)
        return path

    @cached_property
    def int8_file(self) -> Path | None:
        """In int8, of a model whose own weights are integers."""
        if not (self.always_int8 or self.loaded.integers):
            return None
        path, reduce_range = self.folder / self.names[1], self.settings.reduce_range
        quantize_int8(self.float_file, path, images=self.calibration, reduce_range=reduce_range)
        return path

    @cached_property
    def int4_file(self) -> Path | None:
        """With the model's own weights in 4 bits, if it stores them in 4 or fewer."""
        weights = int4_weights(self.loaded)
        if not weights:
            return None
        quantize_int4(self.float_file, self.folder / self.names[2], weights)
        return self.folder / self.names[2]


def quantize_int8(float_file: str | Path, path: str | Path, *, images: Pixels, reduce_range: bool) -> None:
    """Write a file in int8 with the same input, outputs and classes; the same arguments give the same bytes.

    A file of equal arguments is found again in scratch.

    Args:
        float_file: As `export_float` wrote it; a UserError if it is no file that this package exported.
        path: The file to write.
        images: Training images, at least one: a choice on held-out ones would flatter.
        reduce_range: Weights in 7 bits; right on every CPU. Without it, products saturate where VNNI is missing.
    """
    _, contract = read(float_file)
    if len(images) == 0:
        raise ValueError("there are no images to calibrate on")
    calibrate = partial(_calibrated, Path(float_file), Path(path), images, reduce_range, contract)
    inputs = files.sha256(Path(float_file)), hashlib.sha256(images.tobytes()).hexdigest(), images.shape
    parts = *inputs, reduce_range, version("onnxruntime"), onnx.__version__
    folder = runtime.scratch("int8", *parts, code=CODE)
    files.write_bytes(path, files.kept_bytes(folder / "int8.npz", calibrate))


def _calibrated(float_file: Path, path: Path, images: Pixels, reduce_range: bool, contract: Contract) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder, "prepared.onnx"), Path(folder, "quantized.onnx")
        quant_pre_process(float_file, prepared, skip_symbolic_shape=True)
        try:
            proto = onnx.load(prepared)
        except Exception:  # of protobuf, which ships no types
            raise UserError(f"{prepared}: ONNX Runtime wrote it in part; is the disk full?") from None
        scales = round_first_(proto, images, layers=ROUNDED, highest=HIGHEST[reduce_range])
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
                "TensorQuantOverrides": {
                    name: [{**CHANNEL, "scale": step} for step in steps] for name, steps in scales.items()
                },
            },
        )
        write(path, onnx.load(quantized), contract)
    return path.read_bytes()


class _CalibrationImages(CalibrationDataReader):
    """CALIBRATION_BATCH images at a time."""

    def __init__(self, images: Pixels) -> None:
        starts = range(0, len(images), CALIBRATION_BATCH)
        self._batches = iter([images[start : start + CALIBRATION_BATCH] for start in starts])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next images by input name; None after the last ones."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}


def round_first_(
    proto: onnx.ModelProto, images: Pixels, *, layers: int, highest: int
) -> dict[str, Float32[np.ndarray, " outputs"]]:
    """Round the weights of the first convolutions in place, to multiples of a scale per output channel.

    Args:
        proto: In float32, batch norms folded.
        images: Training images, as the file takes them.
        layers: Convolutions, in the order of the graph; of these, depthwise and grouped ones are left.
        highest: The largest integer; the lowest is its negative.

    Returns:
        Name of a weight -> its scales.
    """
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    convolutions = [node for node in proto.graph.node if node.op_type == "Conv"][:layers]
    nodes = [
        node
        for node in convolutions
        if node.input[1] in tensors and _attribute(node, "group", 1) == 1 and _inputs(node, tensors) <= LONGEST_ROW
    ]
    scales: dict[str, Float32[np.ndarray, " outputs"]] = {}
    if not nodes:
        return scales
    for node, moment in zip(nodes, _moments(proto, nodes, images, tensors), strict=True):
        tensor = tensors[node.input[1]]
        rounded, scales[tensor.name] = rounded_together(numpy_helper.to_array(tensor), moment, highest)
        tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    return scales


def rounded_together(
    weight: Float32[np.ndarray, "outputs ..."], moment: Float[np.ndarray, "inputs inputs"], highest: int
) -> tuple[Float32[np.ndarray, "outputs ..."], Float32[np.ndarray, " outputs"]]:
    """Multiples of a scale per output whose product with the inputs differs little from what the weights give.

    Args:
        weight: Finite.
        moment: X'X / n of the inputs X, in the order of the weights.
        highest: The largest integer; the lowest is its negative.

    Returns:
        The rounded weight, and the scales.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    damped = moment + np.eye(len(moment)) * (DAMPING * np.diag(moment).mean() or 1.0)  # 1: all inputs are zero
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    largest = np.abs(rows).max(1)
    best, scales, least = np.zeros_like(rows), np.ones(len(rows), np.float32), np.full(len(rows), np.inf)
    for factor in SHRUNK:
        steps = np.where(largest > 0, factor * largest / highest, 1).astype(np.float32)
        found = _gptq(rows, steps.astype(np.float64), upper, highest)
        error = ((found - rows) @ damped * (found - rows)).sum(1)
        better = error < least
        best[better], scales[better], least[better] = found[better], steps[better], error[better]
    return best.astype(np.float32).reshape(weight.shape), scales


def _gptq(
    rows: Float[np.ndarray, "outputs inputs"],
    steps: Float[np.ndarray, " outputs"],
    upper: Float[np.ndarray, "inputs inputs"],
    highest: int,
) -> Float[np.ndarray, "outputs inputs"]:
    rest, rounded = rows.copy(), np.empty_like(rows)
    for column in range(rows.shape[1]):
        rounded[:, column] = np.clip(np.rint(rest[:, column] / steps), -highest, highest) * steps
        error = (rest[:, column] - rounded[:, column]) / upper[column, column]
        rest[:, column + 1 :] -= np.outer(error, upper[column, column + 1 :])
    return rounded


def _inputs(node: onnx.NodeProto, tensors: dict[str, onnx.TensorProto]) -> int:
    """Weights per output of a convolution."""
    return math.prod(tensors[node.input[1]].dims[1:])


def _moments(
    proto: onnx.ModelProto, nodes: list[onnx.NodeProto], images: Pixels, tensors: dict[str, onnx.TensorProto]
) -> list[Float[np.ndarray, "inputs inputs"]]:
    """Of each node's inputs, at POSITIONS of each of the first IMAGES."""
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    names = list(dict.fromkeys(node.input[0] for node in nodes))
    probe.graph.output.extend([onnx.helper.make_empty_tensor_value_info(name) for name in names])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums on every machine
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sums = [np.zeros((size, size)) for size in (_inputs(node, tensors) for node in nodes)]
    draw, seen = np.random.default_rng(0), images[:IMAGES]
    for start in range(0, len(seen), CALIBRATION_BATCH):
        values = dict(zip(names, session.run(names, {INPUT: seen[start : start + CALIBRATION_BATCH]}), strict=True))
        for node, total in zip(nodes, sums, strict=True):
            for patches in _windows(values[node.input[0]], node, tensors[node.input[1]].dims[2:], draw):
                total += patches.T @ patches
    return [total / (len(seen) * POSITIONS) for total in sums]


def _windows(
    maps: Float32[np.ndarray, "images channels height width"],
    node: onnx.NodeProto,
    kernel: tuple[int, ...],
    draw: np.random.Generator,
) -> Iterator[Float32[np.ndarray, "positions inputs"]]:
    """What a convolution sees at random positions, image by image."""
    ones = [1] * len(kernel)
    pads, strides, dilations = (_attribute(node, key, ones) for key in ("pads", "strides", "dilations"))
    before, after = (pads[: len(kernel)], pads[len(kernel) :]) if len(pads) > len(kernel) else ([0, 0], [0, 0])
    padded = np.pad(maps, ((0, 0), (0, 0), *zip(before, after, strict=True)))
    spans = tuple(step * (side - 1) + 1 for side, step in zip(kernel, dilations, strict=True))
    views = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(2, 3))
    views = views[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    for image in views:
        rows, columns = (draw.integers(0, side, POSITIONS) for side in image.shape[1:3])
        yield np.moveaxis(image[:, rows, columns], 1, 0).reshape(POSITIONS, -1)


def _attribute(node: onnx.NodeProto, key: str, default: Any) -> Any:
    found = [attribute for attribute in node.attribute if attribute.name == key]
    return onnx.helper.get_attribute_value(found[0]) if found else default


def int4_weights(loaded: Checkpoint) -> dict[str, QuantizedWeight]:
    """Name of a weight -> its integers and scales, of each weight that is stored in integers of 4 bits or fewer."""
    return {name: weight for name, weight in loaded.integers.items() if weight.bits <= INT4_BITS and weight.codes.any()}


def quantize_int4(float_file: str | Path, path: str | Path, weights: Mapping[str, QuantizedWeight]) -> None:
    """Write a file with the same input, outputs and classes and half a byte per stored weight.

    A weight that the exporter changed other than by a factor per output, as the folding of a batch norm does, stays
    float32. The same arguments give the same bytes.

    Args:
        float_file: As `export_float` wrote it; a UserError if it is no file that this package exported.
        path: The file to write.
        weights: Of the model that `float_file` was made from; see `int4_weights`.
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


def _exported(weight: Float[np.ndarray, "outputs ..."], known: QuantizedWeight) -> Weight | None:
    """The stored integers with the float32 scales of an exported weight; None if it is no multiple of theirs."""
    stored = known.as_arrays()
    rows, own = weight.reshape(len(weight), -1), dequantized(stored)
    if rows.shape != own.shape:
        return None
    factors = (rows * own).sum(1, keepdims=True) / np.maximum((own * own).sum(1, keepdims=True), 1e-30)
    exact = replace(stored, scales=(stored.scales * factors).astype(np.float32))
    return exact if np.abs(dequantized(exact) - rows).max() <= CLOSE * np.abs(rows).max() else None


def _of_tokens(weight: Float[np.ndarray, "inputs outputs"], weights: Mapping[str, QuantizedWeight]) -> Weight | None:
    """The integers of a layer on tokens, whose weight the exporter turns and leaves without its name."""
    alike = (known for known in weights.values() if known.codes.shape == weight.T.shape)
    found = (_exported(weight.T, known) for known in alike)
    return next((exact for exact in found if exact and _product_block(exact)), None)


def _replaced(
    node: onnx.NodeProto, name: str, exact: Weight, shape: tuple[int, ...], tensors: list[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """A layer's nodes with its integers in `tensors`, which grow by them."""
    if node.op_type in {"Gemm", "MatMul"} and (block := _product_block(exact)):
        return list(_product(node, name, exact, block, tensors))
    node.input[1] = f"{name}_float"
    return [*_multiplied_out(name, exact, shape, tensors), node]


def _product_block(exact: Weight) -> int | None:
    """Inputs in a block of MatMulNBits, if it can hold such groups: those of a group, or a part of the only one."""
    inputs, groups = exact.codes.shape[1], exact.scales.shape[1]
    fitting = [size for size in BLOCKS if inputs % size == 0]
    if groups == 1:
        return fitting[-1] if fitting else None
    size = group_size(inputs, groups)
    return size if size in fitting else None


def _product(
    node: onnx.NodeProto, name: str, exact: Weight, block: int, tensors: list[onnx.TensorProto]
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
    name: str, exact: Weight, shape: tuple[int, ...], tensors: list[onnx.TensorProto]
) -> Iterator[onnx.NodeProto]:
    """Nodes that give a weight in float32, from constants alone: a session computes them once, when it starts.

    Cast and Mul, not DequantizeLinear, which sessions repeat for every image unless an option tells them not to.
    """
    outputs, inputs = exact.codes.shape
    groups = exact.scales.shape[1]
    grouped = (outputs, groups, group_size(inputs, groups))
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


def _pairs(halves: UInt8[np.ndarray, "... values"]) -> UInt8[np.ndarray, "... bytes"]:
    """Two values of 4 bits in a byte, the first one in the lower half."""
    return halves[..., 0::2] | (halves[..., 1::2] << 4)
