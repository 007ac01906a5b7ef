"""OpenVINO on the exported file in float32.

Source: https://docs.openvino.ai/2025/openvino-workflow/running-inference.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.deploy.benchmark import not_installed
from deepcompress.deploy.classifier import INPUT, LOGITS

if TYPE_CHECKING:
    from pathlib import Path

    from deepcompress.deploy.benchmark import Call, Deployable

FLOAT_FORM = "openvino"


def missing() -> str | None:
    """OpenVINO is an optional group."""
    return not_installed("openvino", "openvino")


def load(model: Deployable) -> Call:
    """The float file, compiled for the CPU."""
    return compiled(model.float_file, model.threads)


def compiled(path: Path, threads: int) -> Call:
    """An ONNX file compiled for the CPU: one request at a time, float32 where the file has floats."""
    import openvino

    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    network = openvino.Core().compile_model(str(path), "CPU", options)
    request, logits = network.create_infer_request(), network.output(LOGITS)
    return lambda pixels: request.infer({INPUT: pixels})[logits]
