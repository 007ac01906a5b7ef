"""ONNX Runtime on the exported file in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.deploy.classifier import OnnxClassifier

if TYPE_CHECKING:
    from deepcompress.deploy.benchmark import Call, Deployable

FLOAT_FORM = "onnxruntime"


def missing() -> None:
    """It is always there."""


def load(model: Deployable) -> Call:
    """A session on the float file."""
    return OnnxClassifier(model.float_file, model.threads).run
