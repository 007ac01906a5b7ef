"""deepcompress: prune, quantize and distil an image classifier, and compare the results under equal terms.

The functions of api.py are attributes of the package; they are loaded when first asked for, because they need torch.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepcompress.api import accuracy, distill, export, images, load, prune, quantize, size_report, train

__all__ = ["accuracy", "distill", "export", "images", "load", "prune", "quantize", "size_report", "train"]
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime loads, whose 1.32 sends some to Microsoft


def __getattr__(name: str) -> Any:
    """A function of api.py, by PEP 562."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deepcompress import api

    return getattr(api, name)
