"""Cross-entropy by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from deepcompress.data.batches import Batch
from deepcompress.training.loop import CrossEntropy, Objective


def batch() -> Batch:
    return Batch(torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([0]), torch.tensor([0]))


def test_cross_entropy_is_the_negative_log_of_the_right_share():
    assert CrossEntropy()(nn.Identity(), batch()).item() == pytest.approx(math.log(4 / 3))


def test_smoothing_spreads_its_share_over_all_classes():
    expected = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    assert CrossEntropy(0.2)(nn.Identity(), batch()).item() == pytest.approx(expected)


def test_an_objective_must_say_what_it_minimises():
    with pytest.raises(TypeError, match="abstract"):
        Objective()
