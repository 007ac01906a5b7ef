"""One file to hand over: an ONNX file whose weights are coded, with the model card inside; read without torch.

A weight of an exported file is the checkpoint's integers times a scale, times what a batch norm was folded into, one
factor per output. Where these products give every exported weight to the last bit the file keeps integers, scales and
factors; other tensors are kept as they are, in 16 bits where these hold them. So what is unpacked is the exported file.

Layout: MAGIC, then parts as `records.join` writes them: CRC-32 of the rest; the graph without its tensors and the model
card, both through zlib; then per tensor its name, its shape and its record, and of a weight its factors' record, behind
which TURNED says that its rows lie in the file as columns.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from deepcompress import files
from deepcompress.errors import UserError
from deepcompress.models import records
from deepcompress.models.records import Weight

if TYPE_CHECKING:
    from jaxtyping import Float

    from deepcompress.models.quantized_weight import QuantizedWeight

MAGIC = b"deepcompress-1\n"
TURNED = b""
LARGEST_TEXT = 2**26  # bytes of an unpacked graph or card; a damaged file asks for no more
LARGEST_MODEL = 2**31  # bytes of all tensors, as an ONNX file can hold them
PREFIX = "model."  # of a tensor's name in the file, before its name in the model


def pack(onnx_file: Path, path: Path, weights: Mapping[str, QuantizedWeight], card: dict[str, Any]) -> None:
    """Write the file; the same arguments give the same bytes.

    Args:
        onnx_file: In float32, as `export_float` wrote it.
        path: The file to write.
        weights: Name of a tensor of the model -> its integers and scales; see `Checkpoint.integers`.
        card: JSON values.
    """
    proto = onnx.load(onnx_file)
    tensors = [(tensor.name, numpy_helper.to_array(tensor)) for tensor in proto.graph.initializer]
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")
    graph, text = proto.SerializeToString(deterministic=True), json.dumps(card, ensure_ascii=False).encode()
    parts = [zlib.compress(graph, 9), zlib.compress(text, 9)]
    for name, array in tensors:
        known = weights.get(name.removeprefix(PREFIX))
        turned = known is None and array.ndim == 2  # a layer's on tokens, which the exporter leaves without its name
        alike = (
            [known] if known else [other for other in weights.values() if turned and other.codes.shape == array.T.shape]
        )
        parts.append(records.join(_encoded(array, [weight.as_arrays() for weight in alike], turned)))
    content = records.join(parts)
    files.write_bytes(path, MAGIC + zlib.crc32(content).to_bytes(4, "little") + content)


def unpack(path: Path) -> bytes:
    """The ONNX file that was packed, to the last bit; UserError if it is missing, damaged or none of this kind."""
    return _read(path)[0].SerializeToString(deterministic=True)


def read_card(path: Path) -> dict[str, Any]:
    """The model card as JSON values; raises like `unpack`."""
    return _read(path, tensors=False)[1]


def _read(path: Path, *, tensors: bool = True) -> tuple[onnx.ModelProto, dict[str, Any]]:
    files.require_file(path)
    content = path.read_bytes()
    start = len(MAGIC) + 4
    if not content.startswith(MAGIC):
        raise UserError(f"{path}: no deepcompress model file; `export` writes one as model.dc")
    if zlib.crc32(content[start:]).to_bytes(4, "little") != content[len(MAGIC) : start]:
        raise UserError(f"{path}: damaged or cut off (its checksum is another); copy it again")
    try:
        graph, card, *stored = records.split(content[start:])
        proto = onnx.ModelProto.FromString(_inflated(graph))
        if tensors:
            _fill_(proto, stored)
        return proto, json.loads(_inflated(card))
    except Exception as error:  # the checksum is right: somebody made it so
        raise UserError(f"{path}: no file that `export` wrote ({str(error)[:100]})") from None


def _fill_(proto: onnx.ModelProto, stored: list[bytes]) -> None:
    sizes = ((_dtype(tensor).itemsize, *tensor.dims) for tensor in proto.graph.initializer)
    if sum(math.prod(max(side, 0) for side in size) for size in sizes) > LARGEST_MODEL:
        raise ValueError("more than 2 GiB of tensors")
    for tensor, parts in zip(proto.graph.initializer, stored, strict=True):
        tensor.raw_data = _decoded(records.split(parts), tuple(tensor.dims), _dtype(tensor)).tobytes()


def _encoded(array: np.ndarray, weights: Iterable[Weight], turned: bool) -> Iterator[bytes]:
    """The records of a tensor: of one of these weights its integers, its factors and TURNED, else its numbers."""
    for weight in weights:
        factors = _factors(array.T if turned else array, weight)
        if factors is not None:
            yield from (records.encode_weight(weight), records.encode_array(factors), *[TURNED] * turned)
            return
    if array.dtype in (np.float32, np.int64):
        yield records.encode_array(np.ascontiguousarray(array))
    else:
        yield array.tobytes()


def _decoded(parts: list[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    if dtype == np.float32 and records.holds_weight(parts[0]):  # parts of other types may look like it
        turned = TURNED in parts[2:]
        outputs, *inputs = shape[::-1] if turned else shape
        weight = records.decode_weight(parts[0], outputs, math.prod(inputs))
        factors = records.decode_array(parts[1], (outputs,), np.float32)
        rows = dequantized(weight) * factors[:, None]
        return rows.T if turned else rows.reshape(shape)
    if dtype in (np.float32, np.int64):
        return records.decode_array(parts[0], shape, dtype)
    return np.frombuffer(parts[0], dtype).reshape(shape)


def _factors(array: Float[np.ndarray, "outputs ..."], weight: Weight) -> Float[np.ndarray, " outputs"] | None:
    """What each output of a weight was multiplied by; None if no float32 gives the exported numbers to the last bit."""
    rows, own = array.reshape(len(array), -1), dequantized(weight)
    if array.dtype != np.float32 or rows.shape != own.shape:
        return None
    at = np.abs(own).argmax(1)[:, None]
    largest = np.take_along_axis(own, at, 1)[:, 0]
    exported = np.take_along_axis(rows, at, 1)[:, 0]
    near = np.divide(exported, largest, out=np.ones_like(exported), where=largest != 0)
    halves = near.astype(np.float16).astype(np.float32)  # of a model whose vectors have 16 bits
    for factors in (halves, near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))):
        right = ((own * factors[:, None]).view(np.int32) == rows.view(np.int32)).all(1)
        near = np.where(right, factors, near)
    return near if ((own * near[:, None]).view(np.int32) == rows.view(np.int32)).all() else None


def dequantized(weight: Weight) -> Float[np.ndarray, "outputs inputs"]:
    """Each integer times its scale in float32, as `QuantizedWeight.dequantize` multiplies."""
    inputs, groups = weight.codes.shape[1], weight.scales.shape[1]
    scales = np.repeat(weight.scales.astype(np.float32), -(-inputs // groups), axis=1)[:, :inputs]
    return weight.codes.astype(np.float32) * scales


def _dtype(tensor: onnx.TensorProto) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    text = stream.decompress(data, LARGEST_TEXT)
    if not stream.eof:
        raise ValueError("a text beyond all measure")
    return text
