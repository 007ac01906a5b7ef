"""Signed integers of 2 to 8 bits as one little-endian stream of bits, without a gap.

Value i lies in the bits bits*i to bits*(i+1) - 1 of the stream as two's complement; bit k of the stream is bit
k % 8 of byte k // 8. Eight values fill whole bytes, so the stream is a table of one row per eight values, and
its width says how many bits a value has. At four bits this is the usual order: the low nibble comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepcompress.models.quantized_weight import WIDTHS

if TYPE_CHECKING:
    from jaxtyping import Int8, UInt8
    from torch import Tensor

BLOCK = 8  # values that fill whole bytes at every width
WORD = 64
BLOCKS_AT_ONCE = 2**14  # so that what is shifted stays in the processor's cache


def pack(codes: Int8[Tensor, " values"], bits: int) -> UInt8[Tensor, "blocks bits"]:
    """Lay values of -2**(bits-1) to 2**(bits-1) - 1 end to end; the last block is filled up with zeros.

    Raises:
        ValueError: If a value does not fit.
    """
    if bits not in WIDTHS:
        raise ValueError(f"values have 2 to 8 bits, got {bits}")
    lowest = -(2 ** (bits - 1))
    if codes.numel() and not (lowest <= int(codes.min()) and int(codes.max()) < -lowest):
        raise ValueError(f"{bits} bits hold {lowest} to {-lowest - 1}, got {int(codes.min())} to {int(codes.max())}")
    blocks = F.pad(codes, (0, -len(codes) % BLOCK)).view(-1, BLOCK)
    stream = torch.empty(len(blocks), bits, dtype=torch.uint8)
    for part, out in zip(blocks.split(BLOCKS_AT_ONCE), stream.split(BLOCKS_AT_ONCE), strict=True):
        word = torch.zeros(len(part), dtype=torch.int64)
        for i in range(BLOCK):
            word |= (part[:, i].long() & (2**bits - 1)) << (bits * i)
        out.copy_(word.view(torch.uint8).view(-1, WORD // 8)[:, :bits])
    return stream


def unpack(stream: UInt8[Tensor, "blocks bits"], values: int) -> Int8[Tensor, " values"]:
    """The inverse of pack.

    Raises:
        ValueError: If the stream is not one of so many values.
    """
    bits = stream.shape[-1]
    shape = (-(-values // BLOCK), bits)
    if stream.dtype != torch.uint8 or tuple(stream.shape) != shape or bits not in WIDTHS:
        raise ValueError(f"codes of {values} values must be uint8 {shape[:1]} x bits, got {_kind(stream)}")
    codes = torch.empty(shape[0], BLOCK, dtype=torch.int8)
    for part, out in zip(stream.split(BLOCKS_AT_ONCE), codes.split(BLOCKS_AT_ONCE), strict=True):
        _UNPACK.get(bits, _unpack_any)(part, out)
    flat = codes.view(-1)
    if flat[values:].any():
        raise ValueError("the codes have bits behind their last value")
    return flat[:values]


def _unpack_8(part: Tensor, out: Tensor) -> None:
    out.copy_(part.view(torch.int8))


def _unpack_4(part: Tensor, out: Tensor) -> None:
    signed, pairs = part.view(torch.int8), out.view(len(out), 4, 2)
    pairs[..., 0] = (signed << 4) >> 4
    pairs[..., 1] = signed >> 4


def _unpack_any(part: Tensor, out: Tensor) -> None:
    bits = part.shape[1]
    word = F.pad(part, (0, WORD // 8 - bits)).view(torch.int64).view(-1)
    for i in range(BLOCK):
        out[:, i] = (word << (WORD - bits * (i + 1))) >> (WORD - bits)


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


_UNPACK = {8: _unpack_8, 4: _unpack_4}
