"""4-bit linear layers: two weights in a byte, convolutions untouched, the answers near those of the float file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from deepcompress.deploy.int4 import quantize_int4_linear
from deepcompress.deploy.pixels import channels_first
from deepcompress.deploy.session import Classifier
from tests.deploy.conftest import VIEW, Exported


@pytest.fixture(scope="module")
def int4_file(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int4") / "int4.onnx"
    quantize_int4_linear(exported.float_file, path)
    return path


def test_linear_weights_take_half_a_byte(int4_file: Path) -> None:
    graph = onnx.load(int4_file).graph
    sizes = {tensor.name: np.prod(tensor.dims) for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type == "MatMulNBits"]
    assert [sizes[node.input[1]] for node in layers] == [32 * 64 / 2, 64 * 64 / 2, 64 * 3 / 2]
    assert not [node for node in graph.node if node.op_type in {"MatMul", "Gemm"}]
    assert len([node for node in graph.node if node.op_type == "Conv"]) == 8


def test_the_answers_stay_near_those_of_the_float_file(exported: Exported, int4_file: Path) -> None:
    taken = channels_first(exported.images.images, VIEW.size)
    one, other = (Classifier(file).answers(taken) for file in (exported.float_file, int4_file))
    assert np.abs(one - other).mean() < 0.25 * one.std()
    assert Classifier(int4_file).contract == Classifier(exported.float_file).contract


def test_the_same_call_gives_the_same_bytes(exported: Exported, int4_file: Path, tmp_path: Path) -> None:
    quantize_int4_linear(exported.float_file, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == int4_file.read_bytes()
