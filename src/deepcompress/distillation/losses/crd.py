"""Contrastive distillation: the student tells an image's teacher feature from those of images of other classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from deepcompress.distillation.loss import DistillBatch, Loss, LossContext, LossOptions, Tap, shape
from deepcompress.errors import UserError
from deepcompress.models.spec import FEATURES, layer_name

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ZERO_FOR_EQUAL_NETWORKS = False  # above zero always: no image is told from 4096 others without doubt
EPSILON = 1e-7  # the authors'; keeps both logarithms finite


class Options(LossOptions):
    """weight 0.8, width 128, momentum 0.5 and temperature 0.07 are the authors', as is K = 4096 of their data set.

    The source report's N = 4096 and T = 0.07 are these.
    """

    weight: float = Field(default=0.8, gt=0, allow_inf_nan=False)
    negatives: int = Field(default=4096, ge=1)
    temperature: float = Field(default=0.07, gt=0, allow_inf_nan=False)
    width: int = Field(default=128, ge=1)
    momentum: float = Field(default=0.5, ge=0, lt=1)


class CRD(Loss):
    """Noise contrastive estimation of both sides, summed: the student's embeddings against what a memory holds of
    the teacher's, and the teacher's against the student's [nats].

    With P = exp(v . m / T) / Z, N images and K negatives, a side is the mean over the batch of
    -log(P+ / (P+ + K/N)) - sum over negatives of log(K/N / (P- + K/N)). Z is N times the first batch's mean and
    then stays. Features are the pooled maps before the classifier, both projected, to length 1.

    Source: Tian et al., ICLR 2020, https://arxiv.org/abs/1910.10699, equations 7 to 19; code: HobbitLong/
    RepDistiller, crd/criterion.py and memory.py, mode `exact`. That draws negatives on the CPU without
    replacement, and forgets memories and Z when it resumes; here both are part of the state of an interrupted run.
    """

    reads_logits = False

    def __init__(self, options: Options, context: LossContext) -> None:
        super().__init__(options, context)
        networks = (context.student, context.teacher)
        ours, theirs = (layer_name(network.spec, FEATURES) for network in networks)
        channels = [shape(network, layer)[0] for network, layer in zip(networks, (ours, theirs), strict=True)]
        memories = [
            Memory(len(context.labels), width=options.width, momentum=options.momentum, temperature=options.temperature)
            for _ in networks
        ]
        self.student_taps, self.teacher_taps = (Tap(ours, pooled=True),), (Tap(theirs, pooled=True),)
        self.embed_student, self.embed_teacher = (nn.Linear(inputs, options.width) for inputs in channels)
        self.student_memory, self.teacher_memory = memories
        self.negatives = Negatives(context.labels, options.negatives)

    def forward(self, batch: DistillBatch) -> Float[Tensor, ""]:
        student = F.normalize(self.embed_student(batch.student.features[self.student_taps[0]]))
        teacher = F.normalize(self.embed_teacher(batch.teacher.features[self.teacher_taps[0]]))
        others = self.negatives(batch.labels, batch.indices)
        loss = self.teacher_memory.loss(student, batch.indices, others)
        loss = loss + self.student_memory.loss(teacher, batch.indices, others)
        self.student_memory.update_(student.detach(), batch.indices)
        self.teacher_memory.update_(teacher.detach(), batch.indices)
        return loss


class Negatives(nn.Module):
    """Rows of training images of other classes, drawn evenly and with replacement on the device.

    Draws come from torch's global generator, which the loop seeds in each epoch. An image's draw depends on its
    rank among the rows of the batch, so that the order of the batch does not matter. A UserError if there is a single
    class.

    Args:
        labels: Class of every training image, by row.
        count: Negatives per image.
    """

    by_class: Tensor
    first: Tensor
    sizes: Tensor

    def __init__(self, labels: Int[Tensor, " images"], count: int) -> None:
        super().__init__()
        sizes = torch.bincount(labels)
        if int((sizes > 0).sum()) < 2:
            raise UserError("crd needs images of two classes or more: negatives are of other classes")
        self.count, self.images = count, len(labels)
        self.register_buffer("by_class", labels.argsort(stable=True), persistent=False)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)

    def forward(self, labels: Int[Tensor, " batch"], indices: Int[Tensor, " batch"]) -> Int[Tensor, "batch count"]:
        """Rows for each image of a batch, its own class skipped."""
        draws = torch.rand(len(labels), self.count, device=labels.device)[indices.argsort().argsort()]
        first, own = self.first[labels][:, None], self.sizes[labels][:, None]
        place = (draws * (self.images - own)).long().clamp(max=self.images - own - 1)
        return self.by_class[place + own * (place >= first)]


class Memory(nn.Module):
    """A memory of one network's embedding of every training image, and the loss of the other's against it.

    All N scores of an image come from one matrix product, of which the K wanted are taken: for N up to some
    ten times K that is less work than gathering K vectors per image, as the authors' code does.

    Args:
        images: Training images, N.
        width: Of an embedding.
        momentum: Share of the old embedding that an update keeps.
        temperature: Divides inner products.
    """

    rows: Tensor
    normaliser: Tensor

    def __init__(self, images: int, *, width: int, momentum: float, temperature: float) -> None:
        super().__init__()
        self.momentum, self.temperature = momentum, temperature
        reach = 1 / math.sqrt(width / 3)
        self.register_buffer("rows", torch.empty(images, width).uniform_(-reach, reach))
        self.register_buffer("normaliser", torch.zeros(()))  # zero until the first batch sets it

    def loss(
        self,
        embedded: Float[Tensor, "batch width"],
        positives: Int[Tensor, " batch"],
        negatives: Int[Tensor, "batch count"],
    ) -> Float[Tensor, ""]:
        """Noise contrastive estimation against the memory, mean over the batch [nats].

        Args:
            embedded: Of the network that the memory does not belong to.
            positives: Row of each image.
            negatives: Rows of its negatives.
        """
        wanted = torch.cat([positives[:, None], negatives], 1)
        scores = (embedded @ self.rows.T / self.temperature).gather(1, wanted).exp()
        with torch.no_grad():
            first = self.normaliser == 0
            self.normaliser.copy_(torch.where(first, scores.mean() * len(self.rows), self.normaliser))
        likely = scores / self.normaliser
        noise = negatives.shape[1] / len(self.rows)
        positive = (likely[:, 0] / (likely[:, 0] + noise + EPSILON)).log()
        negative = (noise / (likely[:, 1:] + noise + EPSILON)).log()
        return -(positive.sum() + negative.sum()) / len(wanted)

    def update_(self, embedded: Float[Tensor, "batch width"], indices: Int[Tensor, " batch"]) -> None:
        """Move what is held of a batch towards new, detached embeddings and back to length 1.

        The rows become a new tensor: the backward pass still needs the old one.
        """
        moved = self.momentum * self.rows[indices] + (1 - self.momentum) * embedded
        self.rows = self.rows.index_copy(0, indices, F.normalize(moved))


build = CRD
