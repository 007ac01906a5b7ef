"""Take some images at random where all of them would cost more than they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepcompress.data.store import Arrays
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from collections.abc import Sequence


def sampled(arrays: Arrays, count: int, seed: int) -> Arrays:
    """`count` images drawn without replacement, in stored order; the arrays themselves if there are no more.

    Stored images may lie class by class, so the first ones are no sample.

    Args:
        arrays: Images and labels; of memory-mapped ones only what is drawn is read.
        count: How many; at least 1.
        seed: Same seed, same draw.
    """
    if count >= len(arrays):
        return arrays
    drawn = np.random.default_rng(derived_seed(seed, "sample", count)).permutation(len(arrays))[:count]
    rows: Sequence[int] = np.sort(drawn).tolist()
    return Arrays(images=np.asarray(arrays.images[rows]), labels=arrays.labels[rows])
