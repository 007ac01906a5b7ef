"""Tiny networks, random images, and a batch of them as a loss sees it."""

import pytest
import torch

from deepcompress.distillation.loss import DistillBatch, Loss, LossContext, Outputs, read
from deepcompress.models.vgg import VGG, tap
from tests import nets

ARRAYS = nets.arrays(24)


def make_network(arch: str = "vgg11", *, number: int = 0, width: float = 1 / 32, batch_norm: bool = True) -> VGG:
    """A VGG with fresh weights, no dropout, and batch statistics that matter."""
    torch.manual_seed(number)
    made = VGG(nets.spec(arch, width=width, batch_norm=batch_norm))
    with torch.no_grad():
        made.classifier[6].weight.normal_(0, 1)
        for name, tensor in made.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
    return made.eval()


def distill_batch(
    loss: Loss, student: VGG, teacher: VGG, rows: torch.Tensor | None = None, *, epoch: int = 1, scale: float = 1
) -> DistillBatch:
    """The outputs of both networks to some of the images; `scale` multiplies all logits."""
    batch = next(nets.batches(24, 24).epoch())
    rows = torch.arange(8) if rows is None else rows

    def outputs(network: VGG, taps: tuple) -> Outputs:
        with tap(network, {wanted.layer for wanted in taps}) as layers:
            logits = network(batch.images[rows]) * scale
        return Outputs(logits, read(layers, taps, batch))

    with torch.no_grad():
        taught = outputs(teacher, loss.teacher_taps)
    return DistillBatch(outputs(student, loss.student_taps), taught, batch.labels[rows], rows, epoch)


@pytest.fixture
def student() -> VGG:
    return make_network()


@pytest.fixture
def teacher() -> VGG:
    return make_network("vgg16", number=1, width=1 / 16).requires_grad_(False)


@pytest.fixture
def context(student: VGG, teacher: VGG) -> LossContext:
    return LossContext(student, teacher, torch.from_numpy(ARRAYS.labels))
