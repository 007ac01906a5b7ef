"""The tensors of a model as records of bytes near their entropy, each with a checksum of what it decodes to; no torch.

A record is a CRC-32 of the decoded bytes, a byte of what it holds, and parts, each behind its length:

- 2 to 8, the bits of a quantized weight: its scales per row, its integers row by row, then its scales;
- HALF or SINGLE: floats, in 16 bits where these hold every value, else in 32;
- WHOLE: integers of 64 bits as they are.

Floats are turned left by one bit, so that the sign comes last, and taken apart by byte: the first bytes are exponents,
which differ little; the others are noise and take the bytes that they have.

Integers, and the bytes of floats, are tables whose rows share static histograms, in an ANS coder. Pruned and quantized
weights are almost independent of their neighbours, but rows differ: some keep more weights, some have an outlier that
makes their scale coarse. So rows, or the groups of a row that share a scale, fall into a few classes with a histogram
each, found by Lloyd's algorithm on code lengths; a class and its histogram must save more than they cost. In a
histogram of many values neighbours may share a weight. A decoder must have the encoder's probabilities to the last
bit. They are integers that add up to a power of two less the number of symbols, which constriction's own rounding
(`perfect=False`) leaves as they are; no logarithm is taken.

Layout of a table: a byte, 0 where the values follow as they are. Else its lower five bits are the number of classes,
the next two say how many values share a byte of a histogram (1, 2, 4 or 8), the highest whether groups are rows. Then:
lowest value; number of values less one; per class a histogram; unless there is one class, a histogram of the classes,
a byte for each; then the coder's words, little-endian: the classes of the rows in order, and per class the values of
its rows. A byte b of a histogram means a weight of 2**(-b/16) of its largest, 255 values that do not occur.

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
CLASSES = (1, 2, 4, 8, 16)  # that are tried, and
SHARING = (1, 2, 4, 8)  # values that share a byte of a histogram
MANY, SHARED, GROUPED = 31, 5, 128  # of a table's first byte: its classes, the place of what is shared, and groups
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
    parts = [groups.to_bytes(-(-groups.bit_length() // 8), "little"), encode_table(weight.codes, groups)]
    return _record(weight.bits, weight.content, parts + _from_floats(weight.scales, HALF))


def holds_weight(record: bytes) -> bool:
    """Whether a record holds a quantized weight, rather than other numbers."""
    return len(record) > CHECK_BYTES and record[CHECK_BYTES] in WIDTHS


def decode_weight(record: bytes, outputs: int, inputs: int) -> Weight:
    """The inverse of encode_weight; a ValueError if it is no record of a weight of this shape, or a damaged one."""
    bits, check, parts = _opened(record)
    groups = int.from_bytes(parts[0], "little") if parts else 0
    if bits not in WIDTHS or len(parts) != 2 + HALF // 8 or not groups:
        raise ValueError("no record of a quantized weight")
    scales = _to_floats(parts[2:], HALF, groups * outputs).reshape(outputs, groups)
    weight = Weight(decode_table(parts[1], outputs, inputs, groups), scales, bits)
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


def encode_table(values: Int8[np.ndarray, "rows columns"], groups: int = 1) -> bytes:
    """A table as bytes; the same table gives the same bytes. Each row may fall into so many groups of equal length."""
    raw = b"\0" + values.tobytes()
    if values.size == 0:
        return raw
    forms = [(0, values)]
    if 1 < groups < values.shape[1] and values.shape[1] % groups == 0:
        forms.append((GROUPED, values.reshape(len(values) * groups, -1)))
    return min([raw, *(_encode(rows, flag) for flag, rows in forms)], key=len)


def decode_table(data: bytes, rows: int, columns: int, groups: int = 1) -> Int8[np.ndarray, "rows columns"]:
    """The inverse of encode_table. Damage gives other values, or a ValueError where it shows; keep a checksum."""
    if rows * columns > LARGEST + PER_BYTE * len(data):
        raise ValueError(f"{len(data)} bytes cannot hold {rows} x {columns} integers")
    stored = np.frombuffer(data, np.uint8)
    first = int(stored[0]) if len(data) else 1
    if first == 0:
        if len(data) != 1 + rows * columns:
            raise ValueError(f"{len(data) - 1} bytes are not {rows} x {columns} integers")
        return stored[1:].view(np.int8).reshape(rows, columns).copy()
    count, shared, cut = first & MANY, 1 << (first >> SHARED & 3), groups if first & GROUPED else 1
    lowest, span = (int(stored[1:2].view(np.int8)[0]), int(stored[2]) + 1) if len(data) > 2 else (0, 1)
    entries = -(-span // shared)
    start = 3 + count * entries + (count if count > 1 else 0)
    if lowest + span > 128 or len(data) < start or (len(data) - start) % 4 or columns % cut or not count:
        raise ValueError(f"{len(data)} bytes are no coded integers")
    tables = stored[3 : 3 + count * entries].reshape(count, entries)
    coder = constriction.stream.stack.AnsCoder(np.frombuffer(data, "<u4", offset=start).astype(np.uint32))
    kinds = _take(coder, stored[3 + count * entries : start], rows * cut) if count > 1 else np.zeros(rows * cut, int)
    result = np.empty((rows * cut, columns // cut), np.int8)
    for kind, table in enumerate(_spread(tables, shared, span)):
        own = np.flatnonzero(kinds == kind)
        if len(own):
            taken = _take(coder, table, len(own) * result.shape[1])
            result[own] = (taken + lowest).astype(np.int8).reshape(len(own), -1)
    if not coder.is_empty():
        raise ValueError("there are bytes behind the last integer")
    return result.reshape(rows, columns)


def _encode(values: Int8[np.ndarray, "rows columns"], flag: int) -> bytes:
    """The table with those classes and that sharing which make it shortest."""
    lowest = int(values.min())
    symbols = values.astype(np.int32) - lowest
    span = int(symbols.max()) + 1
    places = np.arange(len(values))[:, None] * span + symbols
    counts = np.bincount(places.ravel(), minlength=len(values) * span).reshape(-1, span)
    found: list[tuple[Any, ...]] = []
    for classes in (number for number in CLASSES if number <= len(values)):
        kinds = np.unique(_classes(counts, classes), return_inverse=True)[1].astype(np.int32)  # none stays empty
        sums = np.stack([counts[kinds == kind].sum(0) for kind in range(kinds.max() + 1)])
        own = [np.bincount(kinds)] if len(sums) > 1 else []
        names = [_table(one) for one in own]
        for shared in SHARING:
            tables = np.stack([_table(one, shared) for one in sums])
            bits = sum(map(_bits, [*own, *sums], [*names, *_spread(tables, shared, span)]))
            size = bits / 8 + tables.size + len(names) * len(sums)
            found.append((size, len(found), shared, kinds, tables, names))
    _, _, shared, kinds, tables, names = min(found)
    parts = [(table, kinds) for table in names]
    parts += [(table, symbols[kinds == kind].ravel()) for kind, table in enumerate(_spread(tables, shared, span))]
    coder = constriction.stream.stack.AnsCoder()
    for table, coded in reversed(parts):  # a stack: what is put last is taken first
        used, model = _model(table)
        if model is not None:
            coder.encode_reverse(np.searchsorted(used, coded).astype(np.int32), model)
    head = np.array([flag | SHARING.index(shared) << SHARED | len(tables), lowest & 255, span - 1], np.uint8)
    return b"".join(part.tobytes() for part in (head, tables, *names, coder.get_compressed().astype("<u4")))


def _spread(tables: UInt8[np.ndarray, "classes entries"], shared: int, span: int) -> UInt8[np.ndarray, "classes span"]:
    """Histograms with an entry for every value."""
    return tables.repeat(shared, axis=1)[:, :span]


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


def _table(counts: Int[np.ndarray, " span"], shared: int = 1) -> UInt8[np.ndarray, " entries"]:
    """The nearest table to a histogram, with an entry for so many neighbours, of the last perhaps fewer."""
    starts = np.arange(0, len(counts), shared)
    means = np.add.reduceat(counts, starts) / np.diff(starts, append=len(counts))
    with np.errstate(divide="ignore"):
        below = np.rint(STEPS * (math.log2(means.max()) - np.log2(means)))
    return np.where(means > 0, np.minimum(below, UNUSED - 1), UNUSED).astype(np.uint8)


def _bits(counts: Int[np.ndarray, " span"], table: UInt8[np.ndarray, " span"]) -> float:
    """What values of a histogram take by a table of theirs."""
    weights = np.exp2(table[table != UNUSED] / -STEPS)
    return float(counts @ (table / STEPS) + counts.sum() * np.log2(weights.sum()))


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
