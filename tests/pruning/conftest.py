"""Tiny networks and images that pruning is tried on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deepcompress.data.batches import Batches
from deepcompress.models.vgg import VGG
from tests import nets


@pytest.fixture(scope="session")
def network() -> Callable[..., VGG]:
    return nets.vgg


@pytest.fixture(scope="session")
def make_batches() -> Callable[..., Batches]:
    return nets.noise
