"""How many images a training batch needs: batch norm takes no statistics of a single value.

At 32 px the last maps of a ResNet are single pixels, so that a batch of one image has one value per channel there. The
last batch of an epoch is such a batch where the images are one more than a multiple of the batch size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from deepcompress.errors import UserError
from deepcompress.measure.accuracy import evaluating

if TYPE_CHECKING:
    from deepcompress.training.recipe import Recipe


def least_batch(model: nn.Module, recipe: Recipe, *, images: int, size: int) -> int:
    """The fewest images that a training batch may have: 1, or 2 where one alone would be refused.

    Args:
        model: As training starts from it; it runs once, and only where an epoch would end in a single image.
        recipe: Says what trains, and the batch size.
        images: To learn from.
        size: Side of the network's input, px.

    Raises:
        UserError: If every batch is a single image, and that would be refused.
    """
    ends_alone = images % recipe.batch_size == 1 % recipe.batch_size
    if recipe.trainable == "head" or not ends_alone or not _normalises_single_pixels(model, size):
        return 1
    if recipe.batch_size == 1:
        raise UserError(
            f"a batch of one image cannot train this network at {size} px, where batch norm sees a single value per "
            "channel; set batch_size in this stage's section of params.yaml to 2 or more"
        )
    return 2


@torch.no_grad()
def _normalises_single_pixels(model: nn.Module, size: int) -> bool:
    """Whether a batch norm that trains gets maps of 1 x 1."""
    found: list[bool] = []
    layers = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    trained = [layer for layer in layers if any(parameter.requires_grad for parameter in layer.parameters())]
    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0][0, 0].numel() == 1))
        for layer in trained
    ]
    try:
        with evaluating(model):
            model(torch.zeros(1, 3, size, size, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return any(found)
