"""Store a tensor with many zeros as one bit per entry plus the others as float16 or bfloat16.

Smaller than `cast` above a sparsity of 1/16. Negative zero comes back as zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepcompress.models.encodings import bitmask, cast

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def encode(tensor: Float[Tensor, "*shape"]) -> dict[str, Tensor]:
    """Cast as `cast` does, then split into `mask` and `values` as `bitmask` does."""
    return bitmask.encode(cast.encode(tensor)["values"])


def decode(parts: dict[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """The inverse of encode; a ValueError if the parts are not those of a float32 tensor of this shape."""
    half = parts["values"].dtype if "values" in parts else torch.float16
    if dtype != torch.float32 or half not in cast.DTYPES:
        raise ValueError(f"the values behind a mask must be float16 or bfloat16 for float32, got {half} for {dtype}")
    return bitmask.decode(parts, shape, half).float()
