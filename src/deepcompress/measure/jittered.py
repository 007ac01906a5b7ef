"""Images in other colours: the same random change of each image for every model that is measured on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress import runtime
from deepcompress.data.augment import Augment
from deepcompress.data.row_file import RowFile, spill
from deepcompress.data.store import Arrays
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import UInt8

    from deepcompress.data.augment import Jitter

IMAGES_AT_ONCE = 512


def jittered(arrays: Arrays, jitter: Jitter, *, seed: int) -> Arrays:
    """A copy in which each image has its own brightness, contrast, saturation and hue.

    Args:
        arrays: Stored images, which stay as they are. The copy of images above their budget lies in a file as well,
            in scratch and without a name.
        jitter: Ranges, as in torchvision's ColorJitter.
        seed: Decides every factor; the same seed gives the same pixels, on any device.
    """
    images, parts = arrays.images, _parts(arrays, jitter, seed)
    if isinstance(images, RowFile) and not images.fits:
        folder = runtime.scratch("jittered")
        return Arrays(spill(parts, images.shape, name=folder / "jittered images", folder=folder), arrays.labels)
    changed = np.empty(images.shape, np.uint8)
    for start, part in zip(range(0, len(changed), IMAGES_AT_ONCE), parts, strict=True):
        changed[start : start + IMAGES_AT_ONCE] = part
    return Arrays(changed, arrays.labels)


def _parts(arrays: Arrays, jitter: Jitter, seed: int) -> Iterator[UInt8[np.ndarray, "images height width 3"]]:
    augment, count = Augment(jitter=jitter), len(arrays)
    draws = augment.draw(count, torch.Generator().manual_seed(derived_seed(seed, "jittered images")))
    for start in range(0, count, IMAGES_AT_ONCE):
        part = slice(start, start + IMAGES_AT_ONCE)
        images = torch.from_numpy(np.array(arrays.images[part]))
        yield augment.apply(images, {name: rows[part] for name, rows in draws.items()}).numpy()
