"""Images in other colours: the same random change of each image for every model that is measured on them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress.data.augment import Augment
from deepcompress.data.store import Arrays, collected
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import UInt8

    from deepcompress.data.augment import Jitter

PIXELS_AT_ONCE = 2**17  # each takes some 100 bytes while it changes


def jittered(arrays: Arrays, jitter: Jitter, *, seed: int) -> Arrays:
    """A copy in which each image has its own brightness, contrast, saturation and hue.

    Args:
        arrays: Stored images, which stay as they are. Above their budget the copy lies in a nameless file in scratch.
        jitter: Ranges, as in torchvision's ColorJitter.
        seed: Decides every factor; the same seed gives the same pixels, on any device.
    """
    changed = collected(_parts(arrays, jitter, seed), arrays.images.shape, arrays.budget_mib, "jittered")
    return Arrays(changed, arrays.labels, arrays.budget_mib)


def _parts(arrays: Arrays, jitter: Jitter, seed: int) -> Iterator[UInt8[np.ndarray, "images height width 3"]]:
    augment, count = Augment(jitter=jitter), len(arrays)
    draws = augment.draw(count, torch.Generator().manual_seed(derived_seed(seed, "jittered images")))
    step = max(1, PIXELS_AT_ONCE // math.prod(arrays.images.shape[1:3]))
    for start in range(0, count, step):
        part = slice(start, start + step)
        images = torch.from_numpy(np.array(arrays.images[part]))
        yield augment.apply(images, {name: rows[part] for name, rows in draws.items()}).numpy()
