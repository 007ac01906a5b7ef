"""Single precision, which changes nothing: as `qat-fp32` the equally long float control that QAT is told against."""

from __future__ import annotations

import torch

from deepcompress.quantization.format import FloatFormat


def make() -> FloatFormat:
    """The format."""
    return FloatFormat(torch.float32)
