"""Tiny networks, random images, and a batch of them as a loss sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from deepcompress import runtime
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays
from deepcompress.distillation.loss import DistillBatch, Loss, LossContext, Outputs, read
from deepcompress.models.spec import Model, asked
from deepcompress.models.vgg import VGG, tap

CLASSES, IMAGES = 4, 24
VIEW = View(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def make_network(arch: str = "vgg11", *, number: int = 0, width: float = 1 / 32, batch_norm: bool = True) -> VGG:
    """A VGG with fresh weights, no dropout, and batch statistics that matter."""
    section = Model(arch=arch, batch_norm=batch_norm, width=width, hidden=256, dropout=0.0, image_size=32, weights=None)
    torch.manual_seed(number)
    made = VGG(asked(section, CLASSES))
    with torch.no_grad():
        made.classifier[6].weight.normal_(0, 1)
        for name, tensor in made.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
    return made.eval()


def make_arrays() -> Arrays:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    return Arrays(pixels, np.arange(IMAGES, dtype=np.int64) % CLASSES)


def make_batch(
    loss: Loss, student: VGG, teacher: VGG, rows: torch.Tensor | None = None, *, epoch: int = 1, scale: float = 1
) -> DistillBatch:
    """The outputs of both networks to some of the images; `scale` multiplies all logits."""
    batch = next(Batches(make_arrays(), VIEW, batch_size=IMAGES).epoch())
    rows = torch.arange(8) if rows is None else rows

    def outputs(network: VGG, taps: tuple) -> Outputs:
        with tap(network, {wanted.layer for wanted in taps}) as layers:
            logits = network(batch.images[rows]) * scale
        return Outputs(logits, read(layers, taps, batch))

    with torch.no_grad():
        taught = outputs(teacher, loss.teacher_taps)
    return DistillBatch(outputs(student, loss.student_taps), taught, batch.labels[rows], rows, epoch)


@pytest.fixture(scope="session")
def network() -> Callable[..., VGG]:
    return make_network


@pytest.fixture(scope="session")
def arrays() -> Arrays:
    return make_arrays()


@pytest.fixture(scope="session")
def distill_batch() -> Callable[..., DistillBatch]:
    return make_batch


@pytest.fixture
def student(network: Callable[..., VGG]) -> VGG:
    return network()


@pytest.fixture
def teacher(network: Callable[..., VGG]) -> VGG:
    return network("vgg16", number=1, width=1 / 16).requires_grad_(False)


@pytest.fixture
def context(student: VGG, teacher: VGG, arrays: Arrays) -> LossContext:
    return LossContext(student, teacher, torch.from_numpy(arrays.labels))


@pytest.fixture
def fabric() -> Any:
    return runtime.start(runtime.Train(device="cpu", precision="32-true"), 0)
