"""Store a quantized weight, or any vector of a model, as a record of bytes near its entropy; see models/records.py.

A checkpoint with such a tensor keeps all its other tensors so, too, in one stream: of a model of 100 kB, the header of
safetensors with a line per tensor would be a tenth.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress.models import records
from deepcompress.models.quantized_weight import QuantizedWeight, group_count, group_size

if TYPE_CHECKING:
    from jaxtyping import Shaped, UInt8
    from torch import Tensor

TYPES = {torch.float32: np.float32, torch.int64: np.int64}


def encode(tensor: QuantizedWeight | Shaped[Tensor, "*shape"]) -> dict[str, Tensor]:
    """`record`: bytes. Numbers that are no quantized weight stay as they are to the last bit."""
    if isinstance(tensor, QuantizedWeight):
        record = records.encode_weight(tensor.as_arrays())
    else:
        record = records.encode_array(tensor.numpy())
    return {"record": _bytes(record)}


def decode(
    parts: dict[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype
) -> QuantizedWeight | Shaped[Tensor, "*shape"]:
    """The inverse of encode; a ValueError if the part is no record of such a tensor, or a damaged one."""
    record = _record(parts)
    if not records.holds_weight(record):
        return torch.from_numpy(records.decode_array(record, tuple(shape), TYPES.get(dtype)).copy())
    if dtype != torch.float32 or len(shape) < 2:
        raise ValueError(f"a quantized weight is float32 with outputs and inputs, got {tuple(shape)} {dtype}")
    inputs = torch.Size(shape)[1:].numel()
    weight = records.decode_weight(record, shape[0], inputs)
    groups = weight.scales.shape[1]
    if not 1 <= groups <= inputs or group_count(inputs, group_size(inputs, groups)) != groups:
        raise ValueError(f"{inputs} inputs are not cut into {groups} groups, each with a scale")
    scales = torch.from_numpy(weight.scales)
    if not (torch.isfinite(scales) & (scales > 0)).all():
        raise ValueError("scales must be positive and finite")
    return QuantizedWeight(torch.from_numpy(weight.codes).view(shape), scales, weight.bits)


def join(encoded: Iterable[dict[str, Tensor]]) -> UInt8[Tensor, " bytes"]:
    """The records of several tensors as one stream."""
    return _bytes(records.join(_record(parts) for parts in encoded))


def split(stream: UInt8[Tensor, " bytes"]) -> list[dict[str, Tensor]]:
    """The inverse of join; a ValueError if it is no stream of records."""
    if stream.dtype != torch.uint8:
        raise ValueError(f"a stream must be uint8, got {stream.dtype}")
    return [{"record": _bytes(record)} for record in records.split(stream.numpy().tobytes())]


def _bytes(content: bytes) -> UInt8[Tensor, " bytes"]:
    return torch.from_numpy(np.frombuffer(bytearray(content), np.uint8))


def _record(parts: dict[str, Tensor]) -> bytes:
    if set(parts) != {"record"} or parts["record"].dtype != torch.uint8:
        raise ValueError(f"a coded tensor has the parts record, in bytes; got {', '.join(sorted(parts)) or 'none'}")
    return parts["record"].numpy().tobytes()
