"""Store a quantized weight with many zeros as one bit per entry plus the packed integers that are not zero.

At n bits smaller than `packed` above a sparsity of 1/n: the mask costs one bit, each zero saves n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress.models.encodings import _bits, bitmask, packed

if TYPE_CHECKING:
    from jaxtyping import Float, Float16
    from torch import Tensor

PARTS = {"mask", "codes", "scales"}


def encode(
    tensor: Float[Tensor, "outputs ..."],
    bits: int = packed.BITS,
    scales: Float16[Tensor, "outputs groups"] | None = None,
) -> dict[str, Tensor]:
    """Divide by the scales, drop the zeros, pack.

    Args:
        tensor: Float32.
        bits: Of one integer, 2 to 8.
        scales: Positive; None: the largest magnitude of a row becomes the largest integer.

    Returns:
        `mask`: as in `bitmask`, 1 = the integer is not zero; `codes`: the others, packed as in `_bits`;
        `scales`: as given.
    """
    if scales is None:
        scales = packed.symmetric(tensor, bits)
    parts = bitmask.encode(packed.integers(tensor, bits, scales))
    return {"mask": parts["mask"], "codes": _bits.pack(parts["values"], bits), "scales": scales}


def decode(parts: dict[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Float[Tensor, "outputs ..."]:
    """The inverse of encode.

    Raises:
        ValueError: If the parts are not those of a float32 weight of this shape.
    """
    packed.require(parts, PARTS, shape, dtype)
    values = _bits.unpack(parts["codes"], _ones(parts["mask"]))
    if not values.all():
        raise ValueError("the mask keeps an integer that is zero")
    codes = bitmask.decode({"mask": parts["mask"], "values": values}, shape, torch.int8)
    return packed.weight(codes.flatten(), parts["scales"], shape)


def _ones(mask: Tensor) -> int:
    if mask.dtype != torch.uint8:
        raise ValueError(f"a mask must be uint8 bytes, got {mask.dtype}")
    return int(np.unpackbits(mask.numpy()).sum())
