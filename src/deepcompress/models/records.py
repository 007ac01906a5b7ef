"""The tensors of a model as records of bytes near their entropy, each with a checksum of what it decodes to; no torch.

A record is a CRC-32 of the decoded bytes, a byte of what it holds, and parts, each behind its length:

- 2 to 8, the bits of a quantized weight: its scales per row, its integers row by row, then its scales;
- HALF or SINGLE: floats, in 16 bits where these hold every value, else in 32;
- WHOLE: integers of 64 bits as they are.

Floats are turned left by one bit, so that the sign comes last, and taken apart by byte: the first bytes are exponents,
which differ little; the others are noise and take the bytes that they have.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress.models import entropy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Float16, Int8, Shaped

WIDTHS = range(2, 9)  # bits of an integer
HALF, SINGLE, WHOLE = 16, 32, 64
CHECK_BYTES = 4
UNSIGNED: dict[int, Any] = {HALF: np.dtype("<u2"), SINGLE: np.dtype("<u4")}


@dataclass(frozen=True, eq=False)
class Weight:
    """A quantized weight as numpy holds it; see models/quantized_weight.py."""

    codes: Int8[np.ndarray, "outputs inputs"]
    scales: Float16[np.ndarray, "outputs groups"]
    bits: int

    @property
    def content(self) -> bytes:
        """What the checksum is of."""
        return self.codes.tobytes() + self.scales.tobytes()


def encode_weight(weight: Weight) -> bytes:
    """A quantized weight as a record."""
    groups = weight.scales.shape[1]
    parts = [groups.to_bytes(-(-groups.bit_length() // 8), "little"), entropy.encode(weight.codes)]
    return _record(weight.bits, weight.content, parts + _from_floats(weight.scales, HALF))


def holds_weight(record: bytes) -> bool:
    """Whether a record holds a quantized weight, rather than other numbers."""
    return len(record) > CHECK_BYTES and record[CHECK_BYTES] in WIDTHS


def decode_weight(record: bytes, outputs: int, inputs: int) -> Weight:
    """The inverse of encode_weight.

    Raises:
        ValueError: If it is no record of a weight of this shape, or a damaged one.
    """
    bits, check, parts = _opened(record)
    if bits not in WIDTHS or len(parts) != 2 + HALF // 8:
        raise ValueError("no record of a quantized weight")
    groups = int.from_bytes(parts[0], "little")
    scales = _to_floats(parts[2:], HALF, groups * outputs).reshape(outputs, groups)
    weight = Weight(entropy.decode(parts[1], outputs, inputs), scales, bits)
    _require(check, weight.content)
    return weight


def encode_array(array: Shaped[np.ndarray, "*shape"]) -> bytes:
    """Any float32 or int64 array as a record."""
    if array.dtype == np.int64:
        return _record(WHOLE, array.tobytes(), [array.tobytes()])
    if array.dtype != np.float32:
        raise ValueError(f"a record holds float32 or int64, got {array.dtype}")
    with np.errstate(over="ignore"):
        halves = array.astype(np.float16)
    held = halves.astype(np.float32).tobytes() == array.tobytes()
    kind, stored = (HALF, halves) if held else (SINGLE, array)
    return _record(kind, array.tobytes(), _from_floats(stored, kind))


def decode_array(record: bytes, shape: tuple[int, ...], dtype: Any) -> Shaped[np.ndarray, "*shape"]:
    """The inverse of encode_array.

    Raises:
        ValueError: If it is no record of such an array, or a damaged one.
    """
    kind, check, parts = _opened(record)
    count = math.prod(shape)
    if kind == WHOLE and len(parts) == 1 and len(parts[0]) == 8 * count:
        array = np.frombuffer(parts[0], np.int64)
    elif kind in UNSIGNED and len(parts) == kind // 8:
        array = _to_floats(parts, kind, count).astype(np.float32)
    else:
        raise ValueError(f"no record of {count} numbers")
    if array.dtype != dtype:
        raise ValueError(f"the record holds {array.dtype}, not {np.dtype(dtype)}")
    _require(check, array.tobytes())
    return array.reshape(shape)


def join(parts: Iterable[bytes]) -> bytes:
    """Each part behind its length; a length is written in groups of 7 bits, the lowest first."""
    result = bytearray()
    for part in parts:
        size = len(part)
        while size > 127:
            result.append(size & 127 | 128)
            size >>= 7
        result.append(size)
        result += part
    return bytes(result)


def split(data: bytes) -> list[bytes]:
    """The inverse of join.

    Raises:
        ValueError: If a length leads beyond the end.
    """
    parts, at = [], 0
    while at < len(data):
        size = shift = 0
        while True:
            if at >= len(data) or shift > 42:
                raise ValueError("a record is cut off")
            byte, at = data[at], at + 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        if size > len(data) - at:
            raise ValueError("a record is cut off")
        parts.append(data[at : at + size])
        at += size
    return parts


def _record(kind: int, content: bytes, parts: Iterable[bytes]) -> bytes:
    return zlib.crc32(content).to_bytes(CHECK_BYTES, "little") + bytes([kind]) + join(parts)


def _opened(record: bytes) -> tuple[int, bytes, list[bytes]]:
    """What a record holds, its checksum and its parts."""
    if len(record) <= CHECK_BYTES:
        raise ValueError("a record is cut off")
    return record[CHECK_BYTES], record[:CHECK_BYTES], split(record[CHECK_BYTES + 1 :])


def _require(check: bytes, content: bytes) -> None:
    if zlib.crc32(content).to_bytes(CHECK_BYTES, "little") != check:
        raise ValueError("damaged: its checksum is another")


def _from_floats(values: Shaped[np.ndarray, "*shape"], bits: int) -> list[bytes]:
    """The bytes of floats, the first byte of all of them first."""
    numbers = values.reshape(-1).view(UNSIGNED[bits])
    turned = (numbers << 1 | numbers >> (bits - 1)).astype(UNSIGNED[bits])
    planes = turned.view(np.int8).reshape(-1, bits // 8).T[::-1]
    return [entropy.encode(plane[None]) for plane in np.ascontiguousarray(planes)]


def _to_floats(parts: list[bytes], bits: int, count: int) -> Shaped[np.ndarray, " count"]:
    """The inverse of _from_floats."""
    planes = [entropy.decode(part, 1, count)[0] for part in reversed(parts)]
    turned = np.stack(planes, 1).reshape(-1).view(UNSIGNED[bits])
    return (turned >> 1 | turned << (bits - 1)).astype(UNSIGNED[bits]).view(f"<f{bits // 8}")
