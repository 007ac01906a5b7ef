"""The section `explain`, and a tiny network with images to look into."""

from __future__ import annotations

from typing import Any

import pytest

from deepcompress.data.store import Arrays
from deepcompress.models.vgg import VGG
from tests import nets

EXPLAIN: dict[str, Any] = {
    "images": 4,
    "batch_size": 8,
    "temperature": 3.0,
    "ssim_window": 7,
    "strip_images": 2,
    "jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
}


@pytest.fixture
def network() -> VGG:
    return nets.vgg()


@pytest.fixture
def arrays() -> Arrays:
    return nets.arrays(10)
