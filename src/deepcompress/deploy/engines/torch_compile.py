"""PyTorch with torch.compile: the same float32 network, fused by Inductor; the first calls compile.

Source: https://docs.pytorch.org/docs/stable/generated/torch.compile.html
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import torch

from deepcompress.deploy.engines.pytorch import caller
from deepcompress.deploy.onnx import FromPixels

if TYPE_CHECKING:
    from deepcompress.deploy.benchmark import Call, Deployable

FLOAT_FORM = "torch_compile"


def missing() -> str | None:
    """Inductor needs a C++ compiler."""
    return None if any(map(shutil.which, ("g++", "clang++", "cl"))) else "torch.compile needs a C++ compiler"


def load(model: Deployable) -> Call:
    """The compiled network; a batch size that it has not seen compiles again, before any call that is timed."""
    network = FromPixels(model.loaded.model, model.loaded.view).eval()
    return caller(torch.compile(network, dynamic=False))  # type: ignore[arg-type]
