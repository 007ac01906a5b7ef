"""Rounded weights after training, or in every forward pass of training, on scales that clip nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from benchmarks.plain.images import Data
from benchmarks.plain.networks import VGG, layers
from benchmarks.plain.training import finetune_head_
from deepcompress.models import quantized_weight

FLOATS = {"fp16": torch.float16, "bf16": torch.bfloat16}
SMALLEST_SCALE = 2.0**-24
BATCH_SIZE = 256  # of validation images, as in the pipeline


def after_training_(model: VGG, data: Data, form: str, settings: dict[str, Any]) -> list[int]:
    """Round all weights in place, to `form` by `quant` of params.yaml; returns the validation images answered right.

    The model computes in float32: the report casts it to 16 bits, which a CPU computes far slower.
    """
    with torch.no_grad():
        for layer in layers(model).values():
            layer.weight.copy_(rounded(layer.weight, form, settings))
    return [data.right(model, BATCH_SIZE)]


def in_training_(model: VGG, data: Data, form: str, settings: dict[str, Any], *, seed: int) -> list[int]:
    """Train the last layer while every layer sees its weights rounded, then keep them so.

    Returns:
        Validation images answered right after each epoch, and at the end.
    """
    for layer in layers(model).values():
        parametrize.register_parametrization(layer, "weight", FakeQuantize(form, settings))
    right = finetune_head_(model, data, settings["qat"], seed=seed)
    for layer in layers(model).values():
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return [*right, data.right(model, BATCH_SIZE)]


class FakeQuantize(nn.Module):
    """A weight rounded on the way in, its gradient handed on as it is."""

    def __init__(self, form: str, settings: dict[str, Any]) -> None:
        super().__init__()
        self.form, self.settings = form, settings

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (rounded(weight.detach(), self.form, self.settings) - weight.detach())


def rounded(weight: Tensor, form: str, settings: dict[str, Any]) -> Tensor:
    """A weight cast to 16 bits and back, or the nearest multiples of a float16 scale per channel or group."""
    if form in FLOATS:
        return weight.to(FLOATS[form]).float()
    bits = int(form.removeprefix("int"))
    group_size = settings["group_size"] if bits < settings["channel_bits"] else None
    rows = weight.reshape(len(weight), -1)
    split = quantized_weight.split(rows, quantized_weight.group_count(rows.shape[1], group_size))
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scale = torch.maximum(split.amin(2) / lowest, split.amax(2) / highest).clamp(min=SMALLEST_SCALE).half().float()
    codes = (split * (1 / scale[..., None])).round().clamp(lowest, highest)
    return (codes * scale[..., None]).flatten(1)[:, : rows.shape[1]].reshape(weight.shape)
