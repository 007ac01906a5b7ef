"""Tiny networks and images that pruning is tried on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG

CLASSES = 4


def _network(*, batch_norm: bool = True, image_size: int = 32, features: tuple[int, ...] | None = None) -> VGG:
    """A VGG-11 with weights, biases and batch statistics that all matter."""
    torch.manual_seed(0)
    spec = VGGSpec(
        arch="vgg11",
        batch_norm=batch_norm,
        features=features or (4, 6, 8, 8, 10, 10, 12, 12),
        hidden=(16, 16),
        classes=CLASSES,
        image_size=image_size,
        dropout=0.5,
    )
    model = VGG(spec)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.startswith("classifier") and name.endswith("weight"):
                tensor.normal_(0, (2 / tensor.shape[1]) ** 0.5)
            elif name.endswith("bias") or name.endswith("running_mean"):
                tensor.normal_(0, 0.2)
            elif tensor.dim() == 1:
                tensor.uniform_(0.5, 1.5)
    return model.eval()


def _batches(image_size: int = 32, images: int = 12, batch_size: int = 5, seed: int | None = None) -> Batches:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, image_size, image_size, 3), dtype=np.uint8)
    arrays = Arrays(images=pixels, labels=random.integers(0, CLASSES, images))
    view = View(image_size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Batches(arrays, view, batch_size=batch_size, seed=seed)


@pytest.fixture(scope="session")
def network() -> Callable[..., VGG]:
    return _network


@pytest.fixture(scope="session")
def make_batches() -> Callable[..., Batches]:
    return _batches
