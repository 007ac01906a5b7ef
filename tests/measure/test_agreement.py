"""KL divergence and agreement against hand-worked numbers."""

from __future__ import annotations

import math

import pytest
import torch

from deepcompress.measure.agreement import kl_divergence, top1_agreement


def test_kl_divergence_is_the_one_worked_by_hand_and_has_a_direction() -> None:
    teacher = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])  # probabilities 3/4, 1/4; then 1/2, 1/2
    student = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert kl_divergence(teacher, student).item() == pytest.approx(first / 2)
    back = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert kl_divergence(student, teacher).item() == pytest.approx(back / 2)


def test_temperature_divides_both_logits_and_scales_nothing_else() -> None:
    torch.manual_seed(0)
    teacher, student = torch.randn(2, 16, 10)
    expected = kl_divergence(teacher / 4, student / 4)
    torch.testing.assert_close(kl_divergence(teacher, student, 4.0), expected)


def test_kl_divergence_agrees_with_its_definition_in_64_bits() -> None:
    torch.manual_seed(1)
    teacher, student = torch.randn(2, 16, 10, dtype=torch.float64)
    p, q = (teacher / 2).softmax(1), (student / 2).softmax(1)
    torch.testing.assert_close(kl_divergence(teacher, student, 2.0), (p * (p / q).log()).sum(1).mean())


def test_kl_divergence_is_zero_for_logits_shifted_by_a_constant_and_positive_else() -> None:
    torch.manual_seed(2)
    logits, other = torch.randn(2, 8, 5, dtype=torch.float64)
    assert abs(kl_divergence(logits, logits + 3).item()) < 1e-12
    assert kl_divergence(logits, other).item() > 0


def test_gradient_of_kl_divergence_is_the_difference_of_the_softened_answers() -> None:
    torch.manual_seed(3)
    teacher, student = torch.randn(2, 4, 5, dtype=torch.float64)
    student.requires_grad_()
    kl_divergence(teacher, student, 3.0).backward()
    expected = ((student / 3).softmax(1) - (teacher / 3).softmax(1)) / 3 / 4
    torch.testing.assert_close(student.grad, expected.detach())


def test_agreement_counts_equal_answers_right_or_wrong() -> None:
    one = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [5.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    other = torch.tensor([[9.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.1, 0.0]])
    assert top1_agreement(one, other) == 0.75
