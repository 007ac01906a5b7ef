"""Count multiply-accumulates per layer and parameters per model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from deepcompress.models.taps import tap
from deepcompress.models.vgg import prunable_layers

if TYPE_CHECKING:
    from torch import nn

    from deepcompress.models.classifier import Classifier


def layer_macs(model: Classifier) -> dict[str, int]:
    """Multiply-accumulates of each convolution and linear layer for one image of the model's own size.

    Each output value costs as many as one output channel has weights; biases, batch norms and activations are
    not counted, nor are zeros skipped. One image runs through the model, in eval mode.
    """
    layers = prunable_layers(model)
    size = model.spec.image_size
    image = torch.zeros(1, 3, size, size, device=next(model.parameters()).device)
    with _evaluating(model), torch.no_grad(), tap(model, layers) as outputs:
        model(image)
    return {name: outputs[name].numel() * layer.weight[0].numel() for name, layer in layers.items()}


def parameters(model: nn.Module) -> dict[str, int]:
    """Counts: `total` parameters, `weights` of convolutions and linear layers, `nonzero` ones among these."""
    weights = [layer.weight for layer in prunable_layers(model).values()]
    return {
        "total": sum(parameter.numel() for parameter in model.parameters()),
        "weights": sum(weight.numel() for weight in weights),
        "nonzero": sum(int(weight.count_nonzero()) for weight in weights),
    }


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
