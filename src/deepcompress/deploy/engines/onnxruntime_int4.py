"""ONNX Runtime on the exported file that keeps the model's own weights in 4 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.deploy.classifier import OnnxClassifier

if TYPE_CHECKING:
    from deepcompress.deploy.benchmark import Call, Deployable

FLOAT_FORM = "onnxruntime"


def missing() -> None:
    """It is always there."""


def load(model: Deployable) -> Call | None:
    """A session on the int4 file, if the model has one."""
    return OnnxClassifier(model.int4_file, model.threads).run if model.int4_file else None
