"""torchvision's VGGs, as wide as the benchmark wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import vgg

if TYPE_CHECKING:
    from pathlib import Path

CONFIGS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}  # torchvision's
POOLINGS = 5


def network(section: dict[str, Any], classes: int, weights: Path, *, channels_last: bool) -> vgg.VGG:
    """A VGG with weights of a file.

    Args:
        section: `model` of params.yaml, a block of `teachers`, or `distill.student`.
        classes: Number of logits.
        weights: A state dict with torchvision's names.
        channels_last: Whether the convolutions' weights lie in channels_last memory.
    """
    width, grid = section["width"], section["image_size"] // 2**POOLINGS
    config = [wide if wide == "M" else round(width * wide) for wide in vgg.cfgs[CONFIGS[section["arch"]]]]
    model = vgg.VGG(vgg.make_layers(config), num_classes=classes, init_weights=False)
    hidden, drop = round(width * section["hidden"]), section["dropout"]
    model.avgpool = nn.AdaptiveAvgPool2d((grid, grid))
    model.classifier = nn.Sequential(
        *(nn.Linear(config[-2] * grid**2, hidden), nn.ReLU(inplace=True), nn.Dropout(drop)),
        *(nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(drop)),
        nn.Linear(hidden, classes),
    )
    model.load_state_dict(load_file(weights))
    return model.to(memory_format=torch.channels_last) if channels_last else model


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear layers by name, in forward order."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
