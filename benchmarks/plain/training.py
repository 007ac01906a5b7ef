"""A course's training loop, and fine-tuning of the last layer with it: the whole network runs in every epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain.images import Data
from benchmarks.plain.networks import VGG
from deepcompress.runtime import derived_seed

Loss = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(images, labels, rows, epoch from 1) -> the loss to minimise."""


def finetune_head_(model: VGG, data: Data, recipe: dict[str, Any], *, seed: int) -> list[int]:
    """Train the last layer in place, the rest being frozen and in evaluation mode.

    Returns:
        Validation images answered right after each epoch.
    """
    model.requires_grad_(False)
    head = model.classifier[-1].requires_grad_(True)
    adam = torch.optim.Adam(head.parameters(), lr=recipe["learning_rate"], weight_decay=recipe["weight_decay"])

    def loss(images: Tensor, labels: Tensor, rows: Tensor, epoch: int) -> Tensor:
        return F.cross_entropy(model(images), labels)

    return train_(model, loss, adam, data, recipe, seed=seed, mode=False)


def train_(
    model: nn.Module,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    data: Data,
    recipe: dict[str, Any],
    *,
    seed: int,
    mode: bool,
) -> list[int]:
    """Train in place; `mode` is the model's during training: True for dropout.

    Returns:
        Validation images answered right after each epoch.
    """
    right = []
    for number in range(recipe["epochs"]):
        torch.manual_seed(derived_seed(seed, "epoch", number))
        model.train(mode)
        for images, labels, rows in data.epoch(number, batch_size=recipe["batch_size"], seed=seed):
            optimizer.zero_grad()
            loss(images, labels, rows, number + 1).backward()
            optimizer.step()
        right.append(data.right(model, recipe["batch_size"]))
    return right
