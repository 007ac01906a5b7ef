"""The benchmark of precisions on linear networks: fp16 on a CPU is fp16, and what is not finite is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import precision
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays
from deepcompress.training.recipe import Recipe
from deepcompress.training.run import TrainingData

CPU = torch.device("cpu")
EPOCHS = 3
HOW = Recipe.model_validate(
    {
        "trainable": "all",
        "batch_size": 4,
        "optimizer": "sgd",
        "weight_decay": 0.0,
        "schedule": "constant",
        "epochs": EPOCHS,
        "learning_rate": 0.01,
    }
)


def trained(name: str, scale: float) -> precision.Fate:
    """Of two classes, black and white images, by a linear network whose logits are so many times as large."""
    pixels = np.repeat(np.array([0, 255] * 4, np.uint8), 12).reshape(8, 2, 2, 3)
    arrays, view = Arrays(pixels, np.array([0, 1] * 4)), View(2, (0.5,) * 3, (0.5,) * 3)
    data = TrainingData(Batches(arrays, view, batch_size=4, seed=0), Batches(arrays, view, batch_size=4))
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        net[1].weight.copy_(scale * torch.tensor([[0.01], [-0.01]]).expand(2, 12))
    return precision.train(net, data, HOW, precision.fabric_of(name, CPU))


@pytest.mark.parametrize("name", precision.PRECISIONS)
def test_small_numbers_are_learnt_from_in_every_precision(name: str) -> None:
    assert precision.fabric_of(name, CPU).strategy.precision.precision == name
    fate = trained(name, 1.0)
    assert (fate.steps, fate.not_finite, fate.lost_steps) == (2 * EPOCHS, 0, 0)
    assert fate.losses[-1] < fate.losses[0]
    assert fate.top1_pct == 100.0


@pytest.mark.parametrize(("name", "lost"), [("32-true", 0), ("bf16-true", 0), ("16-true", 2 * EPOCHS)])
def test_logits_beyond_the_range_of_fp16_are_counted_as_lost(name: str, lost: int) -> None:
    fate = trained(name, 1e6)
    assert (fate.not_finite, fate.lost_steps) == (lost, lost)
    assert np.isnan(fate.losses).all() == (lost > 0)
