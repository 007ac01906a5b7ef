"""OpenVINO on the exported file whose weights and activations are int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.deploy.engines import openvino

if TYPE_CHECKING:
    from deepcompress.deploy.benchmark import Call, Deployable

FLOAT_FORM = "openvino"
missing = openvino.missing


def load(model: Deployable) -> Call | None:
    """The int8 file, compiled for the CPU, if the model has one."""
    return openvino.compiled(model.int8_file, model.threads) if model.int8_file else None
