"""What rounding costs, by hand."""

from __future__ import annotations

import pytest
import torch

from deepcompress.quantization import rounding_error
from deepcompress.quantization.assign import find


def test_weights_that_overflow_underflow_and_lose_digits_are_counted() -> None:
    true = {"a": torch.tensor([[70000.0, 1e-9, 1e-6]]), "b": torch.tensor([[1.0, 0.0]])}
    formats = {"a": find("fp16"), "b": find("fp16")}
    found = rounding_error.of_weights(true, formats, dict.fromkeys(formats))
    assert (found["overflows"], found["underflows"], found["subnormals"]) == (1, 1, 1)
    assert found["weight_error_largest"] == 70000 - 65504
    assert found["weight_error_relative"] == pytest.approx((70000 - 65504) / 70000, rel=1e-6)
    bf16 = rounding_error.of_weights(true, dict.fromkeys(formats, find("bf16")), dict.fromkeys(formats))
    assert (bf16["overflows"], bf16["underflows"], bf16["subnormals"]) == (0, 0, 0)


def test_integers_count_what_is_clipped_and_what_becomes_zero() -> None:
    form, weight = find("int4"), torch.tensor([[7.0, 2.0, 0.2, 0.0]])
    scales = form.scales(weight, torch.tensor([[0.5]]))
    found = rounding_error.of_weights({"a": weight}, {"a": form}, {"a": scales})
    assert (found["overflows"], found["underflows"], found["subnormals"]) == (1, 1, 0)
    assert found["weight_error_relative"] == pytest.approx((3.5**2 + 0.2**2) ** 0.5 / (49 + 4 + 0.04) ** 0.5)


def test_a_network_of_zeros_has_no_error() -> None:
    found = rounding_error.of_weights({"a": torch.zeros(2, 2)}, {"a": find("fp16")}, {"a": None})
    assert found["weight_error_relative"] == 0.0


def test_the_error_of_answers_is_relative_to_their_length() -> None:
    assert rounding_error.of_answers(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 3.0]])) == pytest.approx(0.2)
