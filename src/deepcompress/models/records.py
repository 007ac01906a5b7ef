"""The tensors of a model as records of bytes near their entropy, each with a checksum of what it decodes to; no torch.

A record is a CRC-32 of the decoded bytes, a byte of what it holds, and parts, each behind its length:

- 2 to 8, the bits of a quantized weight: its scales per row, its integers row by row, then its scales;
- HALF or SINGLE: floats, in 16 bits where these hold every value, else in 32;
- WHOLE: integers of 64 bits as they are.

Floats are turned left by one bit, so that the sign comes last, and taken apart by byte: the first bytes are exponents,
which differ little; the others are noise and take the bytes that they have.

Integers, and the bytes of floats, are tables whose rows share static histograms, in an ANS coder. Pruned and quantized
weights are almost independent of their neighbours, but rows differ: some keep more weights, some have an outlier that
makes their scale coarse. So rows fall into a few classes with a histogram each, found by Lloyd's algorithm on code
lengths; a class and its histogram must save more than they cost. A decoder must have the encoder's probabilities to the
last bit. They are integers that add up to a power of two less the number of symbols, which constriction's own rounding
(`perfect=False`) leaves as they are; no logarithm is taken.

Layout of a table: a byte of classes; 0: the values follow as they are. Else: lowest value; number of values less one;
per class a histogram of a byte per value; unless there is one class, a histogram of the classes; then the coder's
words, little-endian: the classes of the rows in order, and per class the values of its rows. A byte b of a histogram
means a weight of 2**(-b/16) of its largest, 255 a value that does not occur.

Source: asymmetric numeral systems: Duda, 2013, https://arxiv.org/abs/1311.2540; constriction: Bamler, 2022,
https://arxiv.org/abs/2201.01741.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import constriction
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Float16, Int, Int8, Shaped, UInt8

WIDTHS = range(2, 9)  # bits of an integer
HALF, SINGLE, WHOLE = 16, 32, 64
CHECK_BYTES = 4
LENGTH = re.compile(rb"[\x80-\xff]{0,6}[\0-\x7f]")  # as `join` writes it
UNSIGNED: dict[int, Any] = {HALF: np.dtype("<u2"), SINGLE: np.dtype("<u4")}
CLASSES = (1, 2, 4, 8, 16)  # that are tried
ROUNDS = 6  # of Lloyd's algorithm; on VGG-11 further ones save less than 0.01 %
STEPS, UNUSED = 16, 255  # of a table: per halving of the weight, and the byte of a value that does not occur
PRECISION = 24  # bits of constriction's probabilities
ROOTS = [math.isqrt(math.isqrt(math.isqrt(math.isqrt(2 ** (16 * PRECISION - step))))) for step in range(STEPS)]
LARGEST = 2**27  # values that a table may hold whatever its bytes, and
PER_BYTE = 2**12  # further ones for each byte: no damaged file asks for more memory


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
    parts = [groups.to_bytes(-(-groups.bit_length() // 8), "little"), encode_table(weight.codes)]
    return _record(weight.bits, weight.content, parts + _from_floats(weight.scales, HALF))


def holds_weight(record: bytes) -> bool:
    """Whether a record holds a quantized weight, rather than other numbers."""
    return len(record) > CHECK_BYTES and record[CHECK_BYTES] in WIDTHS


def decode_weight(record: bytes, outputs: int, inputs: int) -> Weight:
    """The inverse of encode_weight; a ValueError if it is no record of a weight of this shape, or a damaged one."""
    bits, check, parts = _opened(record)
    if bits not in WIDTHS or len(parts) != 2 + HALF // 8:
        raise ValueError("no record of a quantized weight")
    groups = int.from_bytes(parts[0], "little")
    scales = _to_floats(parts[2:], HALF, groups * outputs).reshape(outputs, groups)
    weight = Weight(decode_table(parts[1], outputs, inputs), scales, bits)
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
    """The inverse of encode_array; a ValueError if it is no record of such an array, or a damaged one."""
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
    """The inverse of join; a ValueError if a length leads beyond the end."""
    parts, at = [], 0
    while at < len(data):
        length = LENGTH.match(data, at)
        if length is None:
            raise ValueError("a record is cut off")
        at = length.end() + sum((byte & 127) << 7 * group for group, byte in enumerate(length[0]))
        if at > len(data):
            raise ValueError("a record is cut off")
        parts.append(data[length.end() : at])
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
    return [encode_table(plane[None]) for plane in np.ascontiguousarray(planes)]


def _to_floats(parts: list[bytes], bits: int, count: int) -> Shaped[np.ndarray, " count"]:
    """The inverse of _from_floats."""
    planes = [decode_table(part, 1, count)[0] for part in reversed(parts)]
    turned = np.stack(planes, 1).reshape(-1).view(UNSIGNED[bits])
    return (turned >> 1 | turned << (bits - 1)).astype(UNSIGNED[bits]).view(f"<f{bits // 8}")


# Tables of small integers.


def encode_table(values: Int8[np.ndarray, "rows columns"]) -> bytes:
    """A table as bytes; the same table gives the same bytes."""
    raw = b"\0" + values.tobytes()
    if values.size == 0:
        return raw
    lowest, highest = int(values.min()), int(values.max())
    span = highest - lowest + 1
    counts = np.stack([np.bincount(row.astype(np.int64) - lowest, minlength=span) for row in values])
    coded = min((_encode(values, lowest, counts, classes) for classes in CLASSES if classes <= len(values)), key=len)
    return min(raw, coded, key=len)


def decode_table(data: bytes, rows: int, columns: int) -> Int8[np.ndarray, "rows columns"]:
    """The inverse of encode_table. Damage gives other values, or a ValueError where it shows; keep a checksum."""
    if rows * columns > LARGEST + PER_BYTE * len(data):
        raise ValueError(f"{len(data)} bytes cannot hold {rows} x {columns} integers")
    stored = np.frombuffer(data, np.uint8)
    count = int(stored[0]) if len(data) else 1
    if count == 0:
        if len(data) != 1 + rows * columns:
            raise ValueError(f"{len(data) - 1} bytes are not {rows} x {columns} integers")
        return stored[1:].view(np.int8).reshape(rows, columns).copy()
    lowest, span = (int(stored[1:2].view(np.int8)[0]), int(stored[2]) + 1) if len(data) > 2 else (0, 1)
    start = 3 + count * span + (count if count > 1 else 0)
    if lowest + span > 128 or len(data) < start or (len(data) - start) % 4:
        raise ValueError(f"{len(data)} bytes are no coded integers")
    tables = stored[3 : 3 + count * span].reshape(count, span)
    coder = constriction.stream.stack.AnsCoder(np.frombuffer(data, "<u4", offset=start).astype(np.uint32))
    kinds = np.zeros(rows, np.int64) if count == 1 else _take(coder, stored[3 + count * span : start], rows)
    result = np.empty((rows, columns), np.int8)
    for kind, table in enumerate(tables):
        own = np.flatnonzero(kinds == kind)
        if len(own):
            result[own] = (_take(coder, table, len(own) * columns) + lowest).astype(np.int8).reshape(-1, columns)
    if not coder.is_empty():
        raise ValueError("there are bytes behind the last integer")
    return result


def _encode(
    values: Int8[np.ndarray, "rows columns"], lowest: int, counts: Int[np.ndarray, "rows span"], classes: int
) -> bytes:
    """The table with so many classes of rows, or fewer where some would stay empty."""
    kinds = _classes(counts, classes)
    names, kinds = np.unique(kinds, return_inverse=True)
    tables = [_table(counts[kinds == kind].sum(0)) for kind in range(len(names))]
    parts = [(table, (values[kinds == kind].ravel().astype(np.int32) - lowest)) for kind, table in enumerate(tables)]
    if len(names) > 1:
        parts.insert(0, (_table(np.bincount(kinds)), kinds.astype(np.int32)))
        tables.append(parts[0][0])
    coder = constriction.stream.stack.AnsCoder()
    for table, symbols in reversed(parts):  # a stack: what is put last is taken first
        used, model = _model(table)
        if model is not None:
            places = np.zeros(len(table), np.int32)
            places[used] = np.arange(len(used))
            coder.encode_reverse(places[symbols], model)
    head = np.array([len(names), lowest & 255, counts.shape[1] - 1], np.uint8)
    return b"".join(part.tobytes() for part in (head, *tables, coder.get_compressed().astype("<u4")))


def _take(coder: constriction.stream.stack.AnsCoder, table: UInt8[np.ndarray, " span"], count: int) -> np.ndarray:
    """The next `count` symbols of a table."""
    used, model = _model(table)
    return np.full(count, used[0]) if model is None else used[coder.decode(model, count)]


def _model(table: UInt8[np.ndarray, " span"]) -> tuple[np.ndarray, constriction.stream.model.Categorical | None]:
    """The symbols that occur, and the coder's model of them; None where there is but one, which takes no bits."""
    used = np.flatnonzero(table != UNUSED)
    if len(used) == 0:
        raise ValueError("a table of no symbols")
    if len(used) == 1:
        return used, None
    halvings, step = np.divmod(table[used].astype(np.int64), STEPS)
    weights = np.array(ROOTS)[step] >> halvings
    total = 2**PRECISION - len(used)
    weights = np.maximum(weights * total // weights.sum(), 1)
    weights[weights.argmax()] += total - weights.sum()
    return used, constriction.stream.model.Categorical(weights.astype(np.float64), perfect=False)


def _table(counts: Int[np.ndarray, " span"]) -> UInt8[np.ndarray, " span"]:
    """The nearest table to a histogram."""
    with np.errstate(divide="ignore"):
        below = np.rint(STEPS * (math.log2(counts.max()) - np.log2(counts)))
    return np.where(counts > 0, np.minimum(below, UNUSED - 1), UNUSED).astype(np.uint8)


def _classes(counts: Int[np.ndarray, "rows span"], classes: int) -> Int[np.ndarray, " rows"]:
    """A class for each row, so that code lengths become short; starts from rows in order of their own entropy."""
    lengths = _lengths(counts)
    order = np.argsort((counts * lengths).sum(1), kind="stable")
    kinds = np.empty(len(counts), np.int64)
    kinds[order] = np.arange(len(counts)) * classes // len(counts)
    for _ in range(ROUNDS if classes > 1 else 0):
        sums = np.stack([counts[kinds == kind].sum(0) for kind in range(classes)])
        rows = np.bincount(kinds, minlength=classes)
        costs = counts @ _lengths(sums).T + _lengths(rows[None])
        kinds = costs.argmin(1)
    return kinds


def _lengths(counts: Int[np.ndarray, "rows span"]) -> Float[np.ndarray, "rows span"]:
    """Bits of each symbol by the histogram of its row; many, but finite, where it does not occur."""
    return np.log2(np.maximum(counts.sum(1, keepdims=True), 1)) - np.log2(np.maximum(counts, 0.02))
