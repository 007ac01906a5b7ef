"""How closely one model follows another, whatever the right answers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


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
