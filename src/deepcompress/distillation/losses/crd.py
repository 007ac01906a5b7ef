"""Contrastive distillation: the student tells an image's teacher feature from those of images of other classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from deepcompress.distillation.contrast import Embedding, Memory, Negatives
from deepcompress.distillation.loss import Lesson, Loss, LossOptions, Setting, Tap, shape
from deepcompress.models import roles

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ZERO_FOR_EQUAL_NETWORKS = False  # above zero always: no image is told from 4096 others without doubt


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
    then stays. Features are the pooled maps before the classifier, both projected.

    Source: Tian et al., ICLR 2020, https://arxiv.org/abs/1910.10699, equations 7 to 19; code: HobbitLong/
    RepDistiller, crd/criterion.py and memory.py, mode `exact`. That draws negatives on the CPU without
    replacement, and forgets memories and Z when it resumes; see contrast.py.
    """

    reads_logits = False

    def __init__(
        self,
        layers: tuple[str, str],
        embeddings: tuple[Embedding, Embedding],
        memories: tuple[Memory, Memory],
        negatives: Negatives,
    ) -> None:
        super().__init__()
        self.student_taps, self.teacher_taps = (Tap(layers[0], pooled=True),), (Tap(layers[1], pooled=True),)
        self.embed_student, self.embed_teacher = embeddings
        self.student_memory, self.teacher_memory = memories
        self.negatives = negatives

    def forward(self, lesson: Lesson) -> Float[Tensor, ""]:
        student = self.embed_student(lesson.student.features[self.student_taps[0]])
        teacher = self.embed_teacher(lesson.teacher.features[self.teacher_taps[0]])
        others = self.negatives(lesson.labels, lesson.indices)
        loss = self.teacher_memory.loss(student, lesson.indices, others)
        loss = loss + self.student_memory.loss(teacher, lesson.indices, others)
        self.student_memory.remember_(student.detach(), lesson.indices)
        self.teacher_memory.remember_(teacher.detach(), lesson.indices)
        return loss


def build(options: Options, setting: Setting) -> Loss:
    """The loss as params.yaml wants it."""
    networks = (setting.student, setting.teacher)
    ours, theirs = (roles.layer(network.spec, roles.FEATURES) for network in networks)
    channels = [shape(network, layer)[0] for network, layer in zip(networks, (ours, theirs), strict=True)]
    memories = [
        Memory(len(setting.labels), width=options.width, momentum=options.momentum, temperature=options.temperature)
        for _ in channels
    ]
    one, other = (Embedding(inputs, options.width) for inputs in channels)
    return CRD((ours, theirs), (one, other), (memories[0], memories[1]), Negatives(setting.labels, options.negatives))
