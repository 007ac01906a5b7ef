"""Tiny networks: every layer that VGG-11 has, a few channels each."""

import pytest
import torch

from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG

TINY = VGGSpec("vgg11", True, (2, 3, 4, 4, 5, 5, 6, 6), (8, 7), classes=3, image_size=32, dropout=0.5)


@pytest.fixture
def tiny() -> VGG:
    torch.manual_seed(0)
    return VGG(TINY)
