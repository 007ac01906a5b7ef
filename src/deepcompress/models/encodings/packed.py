"""Store a weight as integers of 2 to 8 bits, laid end to end, and a float16 scale per group of inputs.

Lossless for a weight whose entries are whole multiples of their scale, such as a quantized one: an integer of 8
bits times a float16 has 19 significant bits at most, so float32 holds every product exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepcompress.models import groups
from deepcompress.models.encodings import _bits

if TYPE_CHECKING:
    from jaxtyping import Float, Float16, Int8
    from torch import Tensor

BITS = 8
PARTS = {"codes", "scales"}


def encode(
    tensor: Float[Tensor, "outputs ..."], bits: int = BITS, scales: Float16[Tensor, "outputs groups"] | None = None
) -> dict[str, Tensor]:
    """Divide by the scales and pack.

    Args:
        tensor: Float32.
        bits: Of one integer, 2 to 8.
        scales: Positive; None: the largest magnitude of a row becomes the largest integer.

    Returns:
        `codes`: as in `_bits`, row by row; `scales`: as given.
    """
    if scales is None:
        scales = symmetric(tensor, bits)
    return {"codes": _bits.pack(integers(tensor, bits, scales).flatten(), bits), "scales": scales}


def decode(parts: dict[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Float[Tensor, "outputs ..."]:
    """The inverse of encode.

    Raises:
        ValueError: If the parts are not those of a float32 weight of this shape.
    """
    require(parts, PARTS, shape, dtype)
    return weight(_bits.unpack(parts["codes"], torch.Size(shape).numel()), parts["scales"], shape)


def symmetric(tensor: Float[Tensor, "outputs ..."], bits: int) -> Float16[Tensor, "outputs 1"]:
    """One scale per row: its largest magnitude over the largest integer."""
    largest = groups.rows(tensor).abs().amax(1, keepdim=True)
    smallest = torch.finfo(torch.float16).smallest_normal
    return (largest / (2 ** (bits - 1) - 1)).clamp(min=smallest).half()


def integers(
    tensor: Float[Tensor, "outputs ..."], bits: int, scales: Float16[Tensor, "outputs groups"]
) -> Int8[Tensor, "outputs inputs"]:
    """The nearest integer of each entry on its scale."""
    rows = groups.rows(tensor)
    codes = groups.split(rows, scales.shape[1]) / scales.float()[..., None]
    lowest = -(2 ** (bits - 1))
    return groups.join(codes.round_().clamp_(lowest, -lowest - 1).to(torch.int8), rows.shape)


def weight(
    codes: Int8[Tensor, " entries"], scales: Float16[Tensor, "outputs groups"], shape: tuple[int, ...]
) -> Float[Tensor, "outputs ..."]:
    """Each integer times its scale."""
    made = codes.to(torch.float32).view(shape)
    groups.scale_(groups.rows(made), scales.float())
    return made


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
    wanted = scales.shape[1]
    if not 1 <= wanted <= inputs or groups.count(inputs, groups.size(inputs, wanted)) != wanted:
        raise ValueError(f"{inputs} inputs are not cut into {wanted} groups, each with a scale")
    if not (torch.isfinite(scales) & (scales > 0)).all():
        raise ValueError("scales must be positive and finite")
