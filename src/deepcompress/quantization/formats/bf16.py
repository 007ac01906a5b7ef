"""bfloat16: float32's 8 bits of exponent, 7 of mantissa; its range, an eighth of fp16's precision."""

from __future__ import annotations

import torch

from deepcompress.quantization.format import FloatFormat


def make() -> FloatFormat:
    """The format."""
    return FloatFormat(torch.bfloat16)
