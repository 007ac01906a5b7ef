"""One tiny network with its ONNX files, made once: exporting takes seconds, whatever the size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays
from deepcompress.deploy.integers import quantize_int8
from deepcompress.deploy.onnx import channels_first, export_float
from deepcompress.measure import accuracy
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from tests.data.inputs import CLASSES, pixels

VIEW = View(32, (0.2, 0.5, 0.7), (0.25, 0.1, 0.3))
STORED = 40


@dataclass(frozen=True)
class Exported:
    """A model, its files and the images that they are compared on."""

    model: VGG
    float_file: Path
    int8_file: Path
    images: Arrays

    @property
    def logits(self) -> torch.Tensor:
        return accuracy.logits(self.model, Batches(self.images, VIEW, batch_size=16))[0]


def coloured(number: int, count: int, size: int) -> np.ndarray:
    """Noise in many colours, of which `network` names two classes."""
    gains = np.random.default_rng(number).uniform(0, 1, (count, 1, 1, 3))
    return (pixels(number, count, size, size, 3) * gains).astype(np.uint8)


def network(number: int = 1) -> VGG:
    """With statistics and biases that are not those of fresh layers, except the last layer's bias, which is zero."""
    torch.manual_seed(number)
    model = VGG(VGGSpec("vgg11", True, (4, 8, 16, 16, 32, 32, 32, 32), (64, 64), len(CLASSES), 32, 0.5))
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, 0, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
        elif isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and layer is not model.classifier[6]:
            torch.nn.init.normal_(layer.bias, 0, 0.1)
    torch.nn.init.normal_(model.classifier[6].weight, 0, 1)
    return model.eval()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder, model = tmp_path_factory.mktemp("exported"), network()
    images = Arrays(coloured(7, 80, STORED), np.arange(80) % len(CLASSES))
    float_file, int8_file = folder / "float.onnx", folder / "int8.onnx"
    export_float(model, float_file, view=VIEW, classes=CLASSES, stored_size=STORED)
    calibration = channels_first(coloured(8, 64, STORED), VIEW.size)
    quantize_int8(float_file, int8_file, images=calibration, reduce_range=True)
    return Exported(model, float_file, int8_file, images)
