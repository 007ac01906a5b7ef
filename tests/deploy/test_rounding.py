"""Rounding a convolution's weights together: the error of its outputs falls, and the integers are on their grid."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from deepcompress.deploy import rounding

HIGHEST = 7


def proto(weight: np.ndarray, **attributes: object) -> onnx.ModelProto:
    """A convolution of float images."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Conv", ["floats", "weight"], ["maps"], **attributes),
    ]
    inputs = [helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["n", 3, 12, 12])]
    outputs = [helper.make_tensor_value_info("maps", onnx.TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, [numpy_helper.from_array(weight, "weight")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def images() -> np.ndarray:
    """Neighbouring pixels are alike."""
    draw = np.random.default_rng(0)
    return (draw.integers(0, 200, (8, 3, 1, 1)) + draw.integers(0, 50, (8, 3, 12, 12))).astype(np.uint8)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("attributes", [{"pads": [1, 1, 1, 1]}, {"strides": [2, 2], "dilations": [2, 1]}])
def test_outputs_err_less_than_those_of_nearest_rounding(attributes: dict[str, list[int]]) -> None:
    weight = weights(16, 3, 3, 3)
    made = proto(weight, **attributes)
    scales = rounding.round_first_(made, images(), layers=1, highest=HIGHEST)["weight"]
    rounded = numpy_helper.to_array(made.graph.initializer[0])
    integers = rounded / scales[:, None, None, None]
    np.testing.assert_allclose(integers, np.rint(integers), atol=1e-5)
    assert np.abs(np.rint(integers)).max() <= HIGHEST
    steps = np.abs(weight).max((1, 2, 3), keepdims=True) / HIGHEST
    nearest = np.rint(weight / steps) * steps
    options = {"padding": 1} if "pads" in attributes else {"stride": 2, "dilation": (2, 1)}

    def error(other: np.ndarray) -> float:
        difference = torch.from_numpy((other - weight).astype(np.float32))
        return torch.conv2d(torch.from_numpy(images()).float(), difference, **options).square().mean().item()

    assert error(rounded) < 0.5 * error(nearest)


def test_with_independent_inputs_a_large_grid_rounds_to_nearest() -> None:
    weight = np.array([[3.2, -7.0, 0.4]], np.float32)
    rounded, scales = rounding.rounded_together(weight, np.eye(3), 7)
    assert scales[0] == pytest.approx(1)
    np.testing.assert_allclose(rounded, [[3, -7, 0]])


def test_channels_of_zeros_and_inputs_of_zeros_give_numbers() -> None:
    rounded, scales = rounding.rounded_together(np.array([[0, 0], [1, 2]], np.float32), np.zeros((2, 2)), 2)
    np.testing.assert_allclose(rounded, [[0, 0], [1, 2]])
    assert np.isfinite(scales).all()
    assert (scales > 0).all()


def test_grouped_and_later_convolutions_stay() -> None:
    weight = weights(3, 1, 3, 3)
    made = proto(weight, group=3)
    assert rounding.round_first_(made, images(), layers=1, highest=HIGHEST) == {}
    assert rounding.round_first_(proto(weights(4, 3, 3, 3)), images(), layers=0, highest=HIGHEST) == {}
    np.testing.assert_array_equal(numpy_helper.to_array(made.graph.initializer[0]), weight)
