"""Images in other colours: the same random change of each image for every model that is measured on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress.data.augment import Augment
from deepcompress.data.store import Arrays
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from deepcompress.data.augment import Jitter

IMAGES_AT_ONCE = 512


def jittered(arrays: Arrays, jitter: Jitter, *, seed: int) -> Arrays:
    """A copy in which each image has its own brightness, contrast, saturation and hue.

    Args:
        arrays: Stored images, which stay as they are.
        jitter: Ranges, as in torchvision's ColorJitter.
        seed: Decides every factor; the same seed gives the same pixels, on any device.
    """
    augment, count = Augment(jitter=jitter), len(arrays)
    draws = augment.draw(count, torch.Generator().manual_seed(derived_seed(seed, "jittered images")))
    changed = np.empty(arrays.images.shape, np.uint8)
    for start in range(0, count, IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        images = torch.from_numpy(np.array(arrays.images[part]))
        changed[part] = augment.apply(images, {name: rows[part] for name, rows in draws.items()}).numpy()
    return Arrays(images=changed, labels=arrays.labels)
