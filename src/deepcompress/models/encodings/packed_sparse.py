"""Store a quantized weight with many zeros as one bit per entry plus the packed integers that are not zero.

At n bits smaller than `packed` above a sparsity of 1/n: the mask costs one bit, each zero saves n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress.models.encodings import _bits, bitmask, packed
from deepcompress.models.quantized_weight import QuantizedWeight

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

PARTS = {"mask", "codes", "scales"}


def encode(weight: QuantizedWeight | Float[Tensor, "outputs ..."]) -> dict[str, Tensor]:
    """Drop the zeros and pack; a float32 weight is rounded to 8 bits with a scale per output first.

    Returns:
        `mask`: as in `bitmask`, 1 = the integer is not zero; `codes`: the others, packed as in `_bits`; `scales`.
    """
    weight = packed.as_integers(weight)
    parts = bitmask.encode(weight.codes)
    return {"mask": parts["mask"], "codes": _bits.pack(parts["values"], weight.bits), "scales": weight.scales}


def decode(parts: dict[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Float[Tensor, "outputs ..."]:
    """Each integer times its scale.

    Raises:
        ValueError: If the parts are not those of a float32 weight of this shape.
    """
    return quantized(parts, shape, dtype).dequantize()


def quantized(parts: dict[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> QuantizedWeight:
    """The inverse of encode; raises like `decode`."""
    packed.require(parts, PARTS, shape, dtype)
    if parts["mask"].dtype != torch.uint8:
        raise ValueError(f"a mask must be uint8 bytes, got {parts['mask'].dtype}")
    values = _bits.unpack(parts["codes"], int(np.unpackbits(parts["mask"].numpy()).sum()))
    if not values.all():
        raise ValueError("the mask keeps an integer that is zero")
    codes = bitmask.decode({"mask": parts["mask"], "values": values}, shape, torch.int8)
    return QuantizedWeight(codes, parts["scales"], parts["codes"].shape[1])
