"""Tiny networks: every layer that VGG-11 has, a few channels each."""

from __future__ import annotations

import pytest
import torch

from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG


@pytest.fixture
def tiny_spec() -> VGGSpec:
    return VGGSpec(
        arch="vgg11",
        batch_norm=True,
        features=(2, 3, 4, 4, 5, 5, 6, 6),
        hidden=(8, 7),
        classes=3,
        image_size=32,
        dropout=0.5,
    )


@pytest.fixture
def tiny(tiny_spec: VGGSpec) -> VGG:
    torch.manual_seed(0)
    return VGG(tiny_spec)
