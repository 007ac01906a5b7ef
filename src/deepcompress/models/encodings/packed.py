"""Store a quantized weight as its integers of 2 to 8 bits, laid end to end, and a float16 scale per group of inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepcompress.models.encodings import _bits
from deepcompress.models.quantized_weight import QuantizedWeight, group_count, group_size

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

BITS = 8  # of a weight that nobody has quantized yet
PARTS = {"codes", "scales"}


def encode(weight: QuantizedWeight | Float[Tensor, "outputs ..."]) -> dict[str, Tensor]:
    """Pack the integers; a float32 weight is rounded to 8 bits with a scale per output first.

    Returns:
        `codes`: as in `_bits`, row by row; `scales`: as they are.
    """
    weight = as_integers(weight)
    return {"codes": _bits.pack(weight.codes.flatten(), weight.bits), "scales": weight.scales}


def decode(parts: dict[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Float[Tensor, "outputs ..."]:
    """Each integer times its scale.

    Raises:
        ValueError: If the parts are not those of a float32 weight of this shape.
    """
    return quantized(parts, shape, dtype).dequantize()


def quantized(parts: dict[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> QuantizedWeight:
    """The inverse of encode; raises like `decode`."""
    require(parts, PARTS, shape, dtype)
    codes = _bits.unpack(parts["codes"], torch.Size(shape).numel())
    return QuantizedWeight(codes.view(shape), parts["scales"], parts["codes"].shape[1])


def as_integers(weight: QuantizedWeight | Float[Tensor, "outputs ..."]) -> QuantizedWeight:
    """What `encode` packs."""
    return weight if isinstance(weight, QuantizedWeight) else QuantizedWeight.quantize(weight, BITS)


def require(parts: dict[str, Tensor], names: set[str], shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Refuse what is not the parts of a float32 weight of this shape.

    Raises:
        ValueError: Saying what is wrong.
    """
    if set(parts) != names:
        there = ", ".join(sorted(parts)) or "none"
        raise ValueError(f"a packed weight has the parts {', '.join(sorted(names))}, got {there}")
    if dtype != torch.float32 or len(shape) < 2:
        raise ValueError(f"a packed weight is float32 with outputs and inputs, got {tuple(shape)} {dtype}")
    scales, inputs = parts["scales"], torch.Size(shape)[1:].numel()
    if scales.dtype != torch.float16 or scales.dim() != 2 or len(scales) != shape[0]:
        raise ValueError(f"scales must be float16 ({shape[0]}, groups), got {tuple(scales.shape)} {scales.dtype}")
    groups = scales.shape[1]
    if not 1 <= groups <= inputs or group_count(inputs, group_size(inputs, groups)) != groups:
        raise ValueError(f"{inputs} inputs are not cut into {groups} groups, each with a scale")
    if not (torch.isfinite(scales) & (scales > 0)).all():
        raise ValueError("scales must be positive and finite")
