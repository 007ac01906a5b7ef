"""PyTorch, eager, in float32: how the pipeline itself runs models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepcompress.deploy.onnx import FromPixels

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from deepcompress.deploy.benchmark import Call, Deployable, Pixels

FLOAT_FORM = "pytorch"


def missing() -> None:
    """It is always there."""


def load(model: Deployable) -> Call:
    """The checkpoint's network, from pixels to logits."""
    return caller(FromPixels(model.loaded.model, model.loaded.view))


def caller(network: nn.Module) -> Call:
    """A call of a network in evaluation mode, in channels_last memory, without gradients; the first output counts."""
    network = network.eval().to(memory_format=torch.channels_last)

    def call(pixels: Pixels) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(pixels))[0].numpy()

    return call
