"""Tiny networks that quantization is tried on."""

from typing import Any

import torch

from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.quantization import ptq
from tests import nets


def network(*, batch_norm: bool = True, sparsity: float = 0.0, features: tuple[int, ...] = nets.WIDTHS) -> VGG:
    """A VGG-11, some of its weights zero."""
    model = nets.vgg(batch_norm=batch_norm, features=features)
    with torch.no_grad():
        for layer in prunable_layers(model).values() if sparsity else ():
            layer.weight[layer.weight.abs() <= layer.weight.abs().quantile(sparsity)] = 0
    return model


def round_(model: torch.nn.Module, formats: dict[str, Any]) -> dict[str, Any]:
    """Round a model to nearest in place, without clipping."""
    quantized = ptq.without_images(model, formats)
    ptq.assign_(model, quantized)
    return quantized
