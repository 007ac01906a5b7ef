"""An int8 file holds integers, answers nearly as the float file, and its bytes do not change between runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from deepcompress import files
from deepcompress.deploy import int8
from deepcompress.deploy.contract import Contract
from deepcompress.deploy.pixels import channels_first
from deepcompress.deploy.session import Classifier
from deepcompress.errors import UserError
from tests.data.inputs import CLASSES
from tests.deploy.conftest import STORED, VIEW, Exported, coloured

CALIBRATION = channels_first(coloured(8, 64, STORED), VIEW.size)


def weights(path: Path) -> list[np.ndarray]:
    """Integers of the 8 convolutions and 3 linear layers."""
    tensors = onnx.load(path).graph.initializer
    return [numpy_helper.to_array(t) for t in tensors if t.data_type == TensorProto.INT8 and len(t.dims) > 1]


def test_weights_behind_the_second_convolution_are_integers_with_a_scale_per_output_channel(exported: Exported) -> None:
    proto = onnx.load(exported.int8_file)
    dims = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    integers = {t.name for t in proto.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) > 1}
    scales = [node.input[1] for node in proto.graph.node if node.input[:1] and node.input[0] in integers]
    assert len(weights(exported.int8_file)) == len(scales) == 9
    assert sorted(dims[name] for name in scales) == sorted([[w] for w in (16, 16, 32, 32, 32, 32, 64, 64, 3)])
    floats = [t for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT]
    large = [list(t.dims) for t in floats if np.prod(t.dims, initial=1) > 64]
    assert large == [[4, 3, 3, 3], [8, 4, 3, 3]]


def test_the_file_answers_nearly_as_the_float_file_in_a_fraction_of_its_size(exported: Exported) -> None:
    taken = channels_first(exported.images.images, VIEW.size)
    one, other = (Classifier(file).answers(taken) for file in (exported.float_file, exported.int8_file))
    assert np.abs(one - other).mean() < 0.1 * one.std()
    assert not np.array_equal(one, other)
    assert Classifier(exported.int8_file).contract == Contract(CLASSES, 32, STORED)
    assert exported.int8_file.stat().st_size < 0.45 * exported.float_file.stat().st_size


def test_the_same_call_gives_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    int8.quantize_int8(exported.float_file, tmp_path / "again.onnx", images=CALIBRATION, reduce_range=True)
    assert files.sha256(tmp_path / "again.onnx") == files.sha256(exported.int8_file)


def test_reduce_range_takes_seven_bits(exported: Exported, tmp_path: Path) -> None:
    int8.quantize_int8(exported.float_file, tmp_path / "full.onnx", images=CALIBRATION, reduce_range=False)
    assert max(np.abs(w).max() for w in weights(exported.int8_file)) <= 64
    assert max(np.abs(w.astype(int)).max() for w in weights(tmp_path / "full.onnx")) == 127


def test_the_ranges_come_from_the_images(exported: Exported, tmp_path: Path) -> None:
    dark = np.zeros_like(CALIBRATION)
    int8.quantize_int8(exported.float_file, tmp_path / "dark.onnx", images=dark, reduce_range=True)
    taken = channels_first(exported.images.images, VIEW.size)
    wanted = torch.from_numpy(Classifier(exported.float_file).answers(taken))
    errors = [
        (torch.from_numpy(Classifier(file).answers(taken)) - wanted).abs().mean()
        for file in (exported.int8_file, tmp_path / "dark.onnx")
    ]
    assert errors[0] < errors[1]


def test_a_file_of_another_maker_and_no_images_are_refused(exported: Exported, tmp_path: Path) -> None:
    proto = onnx.load(exported.float_file)
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(UserError, match=r"other\.onnx: no model that this pipeline exported"):
        int8.quantize_int8(tmp_path / "other.onnx", tmp_path / "a.onnx", images=CALIBRATION, reduce_range=True)
    with pytest.raises(ValueError, match="no images to calibrate on"):
        int8.quantize_int8(exported.float_file, tmp_path / "a.onnx", images=CALIBRATION[:0], reduce_range=True)
    assert not (tmp_path / "a.onnx").exists()
