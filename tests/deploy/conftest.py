"""One tiny network with its ONNX files, made once: exporting takes seconds, whatever the size."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deepcompress import params
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays, Meta
from deepcompress.deploy.integers import quantize_int8
from deepcompress.deploy.onnx import channels_first, export_float
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from deepcompress.models.encodings import coded
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG, prunable_layers
from tests.data.inputs import CLASSES, pixels
from tests.house import ROOT

VIEW = View(32, (0.2, 0.5, 0.7), (0.25, 0.1, 0.3))
STORED = 40
META = Meta(CLASSES, STORED, VIEW.mean, VIEW.std, {}, "noise", "none")
DEPLOY: dict[str, Any] = params.read(ROOT / "params.yaml")["deploy"]  # without limits but on accuracy


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
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 2)
        elif isinstance(layer, nn.Conv2d | nn.Linear) and layer is not model.classifier[6]:
            nn.init.normal_(layer.bias, 0, 0.1)
    nn.init.normal_(model.classifier[6].weight, 0, 1)
    return model.eval()


def save(
    path: Path,
    model: nn.Module,
    *,
    view: View = VIEW,
    classes: tuple[str, ...] = CLASSES,
    bits: int | None = None,
    group_size: int | None = None,
) -> None:
    """As a checkpoint; with `bits`, weights are rounded in place to integers with a scale per group, and coded."""
    encodings = {}
    for name, layer in prunable_layers(model).items() if bits else ():
        weight = QuantizedWeight.quantize(layer.weight.detach(), bits, group_size)
        layer.weight.data = weight.dequantize()
        encodings[f"{name}.weight"] = checkpoint.Encoded("coded", coded.encode(weight))
    provenance = checkpoint.provenance("finetune", seed=1, params={"epochs": 3})
    checkpoint.save(path, model, view=view, classes=classes, provenance=provenance, encodings=encodings)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder, model = tmp_path_factory.mktemp("exported"), network()
    images = Arrays(coloured(7, 80, STORED), np.arange(80) % len(CLASSES))
    float_file, int8_file = folder / "float.onnx", folder / "int8.onnx"
    export_float(model, float_file, view=VIEW, classes=CLASSES, stored_size=STORED)
    calibration = channels_first(coloured(8, 64, STORED), VIEW.size)
    quantize_int8(float_file, int8_file, images=calibration, reduce_range=True)
    return Exported(model, float_file, int8_file, images)
