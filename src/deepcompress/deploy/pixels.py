"""Stored images as an exported file takes them: resized as in training, uint8, channels first, not normalised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress.data.batches import resize

if TYPE_CHECKING:
    from jaxtyping import UInt8

CHUNK = 64  # images


def channels_first(
    images: UInt8[np.ndarray, "images height width 3"], size: int
) -> UInt8[np.ndarray, "images 3 size size"]:
    """Resize on the CPU, where `Batches` keeps whole grey levels, and put the channels first."""
    result = np.empty((len(images), 3, size, size), dtype=np.uint8)
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = resize(torch.from_numpy(np.array(images[part])), size).permute(0, 3, 1, 2).numpy()
    return result
