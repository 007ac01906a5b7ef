"""Integers of an exported file's first convolutions, chosen so that their errors cancel in the layers' outputs.

The first layers have few weights per output and inputs that rise and fall together, as neighbouring pixels do: errors
of weights that are rounded one by one add up there, and reach all layers behind. Column after column is rounded, and
each error is shifted onto the columns yet to come, as far as the second moment H of the layer's inputs says that they
can take it. Of several scales per output channel the one with the lowest output error stays.

Source: Frantar et al., GPTQ, ICLR 2023, https://arxiv.org/abs/2210.17323, algorithm 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from deepcompress.deploy.classifier import INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float, Float32, UInt8

IMAGES, POSITIONS = 64, 256  # that H is estimated on, and windows of each
BATCH = 16
DAMPING = 0.01  # of the mean of H's diagonal, added to it: the paper's value
SHRUNK = (1.0, 0.9, 0.8)  # scales to try, of the one that holds the largest weight
LONGEST_ROW = 4608  # weights per output above which a layer is left to be rounded to nearest


def round_first_(
    proto: onnx.ModelProto, images: UInt8[np.ndarray, "images 3 size size"], *, layers: int, highest: int
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
    nodes = [node for node in convolutions if _fits(node, tensors)]
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


def _fits(node: onnx.NodeProto, tensors: dict[str, onnx.TensorProto]) -> bool:
    weight = tensors.get(node.input[1])
    return (
        weight is not None and int(_attribute(node, "group", 1)) == 1 and int(np.prod(weight.dims[1:])) <= LONGEST_ROW
    )


def _moments(
    proto: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    images: UInt8[np.ndarray, "images 3 size size"],
    tensors: dict[str, onnx.TensorProto],
) -> list[Float[np.ndarray, "inputs inputs"]]:
    """Of each node's inputs, at POSITIONS of each of the first IMAGES."""
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    names = list(dict.fromkeys(node.input[0] for node in nodes))
    probe.graph.output.extend([onnx.helper.make_empty_tensor_value_info(name) for name in names])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums on every machine
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sums = [np.zeros((size, size)) for size in (int(np.prod(tensors[node.input[1]].dims[1:])) for node in nodes)]
    draw, seen = np.random.default_rng(0), images[:IMAGES]
    for start in range(0, len(seen), BATCH):
        values = dict(zip(names, session.run(names, {INPUT: seen[start : start + BATCH]}), strict=True))
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
