"""Tiny networks and images to look into."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays
from deepcompress.models.spec import Model, VGGSpec, asked
from deepcompress.models.vgg import VGG

CLASSES = 3
EXPLAIN: dict[str, Any] = {
    "images": 4,
    "batch_size": 8,
    "temperature": 3.0,
    "ssim_window": 7,
    "strip_images": 2,
    "jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
}
VIEW = View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def make_spec(arch: str = "vgg11", *, batch_norm: bool = True, image_size: int = 32) -> VGGSpec:
    section = Model(
        arch=arch, batch_norm=batch_norm, width=1 / 16, hidden=128, dropout=0.0, image_size=image_size, weights=None
    )
    return asked(section, CLASSES)


def make_network(arch: str = "vgg11", number: int = 0) -> VGG:
    torch.manual_seed(number)
    made = VGG(make_spec(arch))
    torch.nn.init.normal_(made.classifier[6].weight)
    return made.eval()


@pytest.fixture
def network() -> VGG:
    return make_network()


@pytest.fixture(scope="session")
def arrays() -> Arrays:
    pixels = np.random.default_rng(1).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    return Arrays(pixels, np.arange(10, dtype=np.int64) % CLASSES)


@pytest.fixture
def batches(arrays: Arrays) -> Batches:
    return Batches(arrays, VIEW, batch_size=4)
