"""IEEE half precision: 5 bits of exponent, 10 of mantissa; up to 65504, whole precision from 6.1e-5 on."""

from __future__ import annotations

import torch

from deepcompress.quantization.format import FloatFormat


def make() -> FloatFormat:
    """The format."""
    return FloatFormat(torch.float16)
