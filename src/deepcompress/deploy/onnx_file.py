"""Write an ONNX graph as one file whose bytes depend on the model alone.

Exporters note source lines, their own names and every operator set that they know: all of it goes, except the
operator sets in use, and the contract takes its place.
Source: https://github.com/onnx/onnx/blob/main/docs/IR.md (metadata, operator sets).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from deepcompress import files
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from deepcompress.deploy.contract import Contract

MAX_BYTES = 2**31 - 1  # of a protocol buffer
PRODUCER = "deepcompress"


def write(path: str | Path, proto: onnx.ModelProto, contract: Contract) -> None:
    """Write `proto` with the contract in its metadata, whole or not at all.

    Args:
        path: The file to write.
        proto: Is stripped in place; its weights lie inside of it.
        contract: Of the model.

    Raises:
        UserError: If the file would take 2 GiB or more, which the format cannot hold in one file.
    """
    strip_(proto)
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, contract.to_metadata())
    if proto.ByteSize() > MAX_BYTES:
        raise UserError(f"{path}: {proto.ByteSize() / 2**30:.1f} GiB, but one ONNX file holds less than 2")
    files.write_bytes(path, proto.SerializeToString(deterministic=True))


def strip_(proto: onnx.ModelProto) -> None:
    """Remove what depends on the exporting machine or says nothing of the computation."""
    graph = proto.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    del graph.value_info[:]
    proto.ClearField("doc_string")
    graph.name, proto.producer_name, proto.producer_version = PRODUCER, PRODUCER, ""
    used = {node.domain for node in graph.node} | {""}
    kept = [operators for operators in proto.opset_import if operators.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(sorted(kept, key=lambda operators: operators.domain))
