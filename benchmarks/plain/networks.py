"""torchvision's VGGs, as wide as the benchmark wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import vgg

CONFIGS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}  # torchvision's
POOLINGS = 5


class VGG(nn.Module):
    """torchvision.models.VGG with hidden layers of any width.

    Args:
        section: `model` of params.yaml, a block of `teachers`, or `distill.student`.
        classes: Number of logits.
    """

    def __init__(self, section: dict[str, Any], classes: int) -> None:
        super().__init__()
        width, grid, drop = section["width"], section["image_size"] // 2**POOLINGS, section["dropout"]
        config = [wide if wide == "M" else round(width * wide) for wide in vgg.cfgs[CONFIGS[section["arch"]]]]
        hidden = round(width * section["hidden"])
        self.features = vgg.make_layers(config)
        self.avgpool = nn.AdaptiveAvgPool2d((grid, grid))
        self.classifier = nn.Sequential(
            *(nn.Linear(config[-2] * grid**2, hidden), nn.ReLU(inplace=True), nn.Dropout(drop)),
            *(nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(drop)),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.classifier(torch.flatten(self.avgpool(self.features(images)), 1))


def network(section: dict[str, Any], classes: int, weights: Path, *, channels_last: bool) -> VGG:
    """A VGG with the weights of a file, with torchvision's names; perhaps in channels_last memory."""
    model = VGG(section, classes)
    model.load_state_dict(load_file(weights))
    return model.to(memory_format=torch.channels_last) if channels_last else model


def layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers by name, in forward order."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
