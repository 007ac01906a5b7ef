"""Tiny networks and images that quantization is tried on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.quantization import ptq

CLASSES = ("ant", "bee", "cat", "dog")
VIEW = View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def _network(*, batch_norm: bool = True, sparsity: float = 0.0) -> VGG:
    """A VGG-11 whose weights, biases and batch statistics all matter, some of its weights zero."""
    torch.manual_seed(0)
    spec = VGGSpec("vgg11", batch_norm, (4, 6, 8, 8, 10, 10, 12, 12), (16, 16), len(CLASSES), 32, 0.5)
    model = VGG(spec)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.startswith("classifier") and name.endswith("weight"):
                tensor.normal_(0, (2 / tensor.shape[1]) ** 0.5)
            elif name.endswith("bias") or name.endswith("running_mean"):
                tensor.normal_(0, 0.2)
            elif tensor.dim() == 1:
                tensor.uniform_(0.5, 1.5)
        for layer in prunable_layers(model).values() if sparsity else ():
            layer.weight[layer.weight.abs() <= layer.weight.abs().quantile(sparsity)] = 0
    return model.eval()


def _batches(images: int = 24, batch_size: int = 10) -> Batches:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
    arrays = Arrays(images=pixels, labels=random.integers(0, len(CLASSES), images))
    return Batches(arrays, VIEW, batch_size=batch_size, device="cpu")


def round_(model: torch.nn.Module, formats: dict[str, Any]) -> dict[str, Any]:
    """Round a model to nearest in place, without clipping."""
    quantized = ptq.without_images(model, formats)
    ptq.assign_(model, quantized)
    return quantized


@pytest.fixture(scope="session")
def network() -> Callable[..., VGG]:
    return _network


@pytest.fixture(scope="session")
def make_batches() -> Callable[..., Batches]:
    return _batches
