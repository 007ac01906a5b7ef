"""A torchvision network as ONNX, float and int8: it answers as its model does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepcompress.deploy import graph, int8
from deepcompress.deploy.parity import parity
from deepcompress.deploy.pixels import channels_first
from deepcompress.measure import accuracy
from tests.nets import CLASSES, VIEW, batches, network


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
def test_the_files_answer_as_the_model(arch: str, tmp_path: Path) -> None:
    model, data = network(arch), batches(images=16, batch_size=8)
    float_file, int8_file = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    graph.export_float(model, float_file, view=VIEW, classes=CLASSES)
    logits = accuracy.logits(model, data)[0]
    found = parity(float_file, logits, data.arrays)
    assert found.agreement_pct == 100
    assert found.largest_difference < 1e-4 * float(logits.abs().max())
    pixels = channels_first(np.asarray(data.arrays.images), VIEW.size)
    int8.quantize_int8(float_file, int8_file, images=pixels, reduce_range=True)
    assert int8_file.stat().st_size < 0.35 * float_file.stat().st_size
    rough = parity(int8_file, logits, data.arrays)
    assert rough.largest_difference < float(logits.max() - logits.min())
