"""How right a network's answers are, and how closely they follow another's: logits, and what follows from them.

One pass gives the logits; every other function here is arithmetic on them, so a new number needs no new pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor, nn

    from deepcompress.data.batches import Batches, Shard


def logits(
    model: nn.Module, batches: Batches, shard: Shard | None = None
) -> tuple[Float[Tensor, "images classes"], Int[Tensor, " images"]]:
    """The model's answers to every image, in one pass in evaluation mode.

    Args:
        model: Lies on the device of the batches. Each of its modules is put back into the mode that it had.
        batches: In any order: rows of the result lie as in the arrays.
        shard: Of several processes that all ask: each runs its own images, and all get all answers.

    Returns:
        Logits as float32 and labels, both on the CPU and free to take part in autograd.
    """
    answers, labels, rows = [], [], []
    with evaluating(model), torch.no_grad():
        for batch in batches.epoch(0, shard):
            answers.append(batch.whole(model(batch.images).float()))
            labels.append(batch.labels)
            rows.append(batch.indices)
    if not answers:
        raise ValueError("there are no images to measure a model on")
    order = torch.cat(rows).cpu().argsort()
    return torch.cat(answers).cpu()[order], torch.cat(labels).cpu()[order]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode inside, and back in its own mode after, be it a mixture."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def top_k_correct(
    logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], k: int = 1
) -> Bool[Tensor, " images"]:
    """Whether the right class is among the k highest logits, image by image.

    Of equal logits the lower class index ranks higher, on every device; a row that holds a NaN is wrong. So a
    network that answers the same for every class scores chance, and a diverged one scores nothing.
    """
    own = logits.gather(1, labels[:, None])
    lower_index = torch.arange(logits.shape[1], device=logits.device)[None] < labels[:, None]
    rank = ((logits > own) | ((logits == own) & lower_index)).sum(1)
    return (rank < k) & ~logits.isnan().any(1)


def cross_entropy(logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"]) -> float:
    """Mean negative log-likelihood of the right class [nats]."""
    return F.cross_entropy(logits.double(), labels).item()


def per_class_accuracy(
    right: Bool[Tensor, " images"], labels: Int[Tensor, " images"], classes: int
) -> Float[Tensor, " classes"]:
    """Fraction of right answers among the images of each class, 0 to 1; NaN for a class without images."""
    counts = torch.bincount(labels, minlength=classes)
    return torch.bincount(labels[right], minlength=classes).double() / counts


def expected_calibration_error(
    logits: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], bins: int = 15
) -> float:
    """Mean distance of confidence from accuracy, over bins of equal width in confidence, weighted by images.

    Args:
        logits: Before softmax; confidence is the highest probability.
        labels: Right class of each row.
        bins: Number of intervals ((m-1)/bins, m/bins]; 15 as in the source's experiments.

    Returns:
        0 (calibrated) to 1; NaN when a logit is NaN.

    Source: Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599, equation 3.
    """
    confidence = logits.double().softmax(1).amax(1)
    if confidence.isnan().any():
        return float("nan")
    interval = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = top_k_correct(logits, labels, 1).double() - confidence
    return (torch.bincount(interval, gap, minlength=bins).abs().sum() / len(labels)).item()


def kl_divergence(
    teacher_logits: Float[Tensor, "batch classes"],
    student_logits: Float[Tensor, "batch classes"],
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """KL(teacher || student) of the softened answers, mean over the batch [nats]; differentiable.

    Args:
        teacher_logits: Of the distribution that is followed; the expectation is taken over it.
        student_logits: Of the one that follows.
        temperature: Divides both logits. The usual factor temperature**2 of a distillation loss is not in it.

    Returns:
        Zero for equal answers (up to a shift of each row), above otherwise.

    Source: Hinton et al., 2015, https://arxiv.org/abs/1503.02531, equation 1 (they use the cross-entropy,
    which has the same gradient).
    """
    teacher = F.log_softmax(teacher_logits / temperature, 1)
    student = F.log_softmax(student_logits / temperature, 1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def top1_agreement(one: Float[Tensor, "images classes"], other: Float[Tensor, "images classes"]) -> float:
    """Share of images on which both models answer the same class, right or wrong: 0 to 1."""
    return (one.argmax(1) == other.argmax(1)).double().mean().item()
