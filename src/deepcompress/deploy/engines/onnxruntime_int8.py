"""ONNX Runtime on the exported file whose weights and activations are int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.deploy.classifier import OnnxClassifier

if TYPE_CHECKING:
    from deepcompress.deploy.benchmark import Call, Deployable

FLOAT_FORM = "onnxruntime"


def missing() -> None:
    """It is always there."""


def load(model: Deployable) -> Call | None:
    """A session on the int8 file, if the model has one."""
    return OnnxClassifier(model.int8_file, model.threads).run if model.int8_file else None
