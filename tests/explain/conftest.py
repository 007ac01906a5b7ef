"""The section `explain`."""

from __future__ import annotations

from typing import Any

EXPLAIN: dict[str, Any] = {
    "images": 4,
    "batch_size": 8,
    "temperature": 3.0,
    "ssim_window": 7,
    "strip_images": 2,
    "jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
}
