"""Store a float32 tensor as float16 or bfloat16; lossless for one whose values those formats hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

DTYPES = (torch.float16, torch.bfloat16)


def encode(tensor: Float[Tensor, "*shape"]) -> dict[str, Tensor]:
    """Cast to float16; a tensor of either 16-bit type stays as it is. `values` has the tensor's shape."""
    return {"values": tensor if tensor.dtype in DTYPES else tensor.half()}


def decode(parts: dict[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """The inverse of encode; a ValueError if the parts are not those of a float32 tensor of this shape."""
    if set(parts) != {"values"}:
        raise ValueError(f"a cast tensor has the parts values, got {', '.join(sorted(parts)) or 'none'}")
    values = parts["values"]
    if dtype != torch.float32 or values.dtype not in DTYPES or tuple(values.shape) != tuple(shape):
        raise ValueError(f"values must be float16 or bfloat16 {tuple(shape)}, got {tuple(values.shape)} {values.dtype}")
    return values.float()
