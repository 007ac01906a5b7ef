"""Take some images at random where all of them would cost more than they tell."""

from __future__ import annotations

import numpy as np

from deepcompress.data.row_file import RowFile
from deepcompress.data.store import Arrays
from deepcompress.runtime import derived_seed


def sampled(arrays: Arrays, count: int, seed: int) -> Arrays:
    """`count` images drawn without replacement, in stored order; the arrays themselves if there are no more.

    Stored images may lie class by class, so the first ones are no sample.

    Args:
        arrays: Images and labels; of those in a file only what is drawn is read, and nothing yet if all of them
            are over the budget.
        count: How many; at least 1.
        seed: Same seed, same draw.
    """
    if count >= len(arrays):
        return arrays
    drawn = np.random.default_rng(derived_seed(seed, "sample", count)).permutation(len(arrays))[:count]
    rows = np.sort(drawn)
    images, labels = arrays.images, arrays.labels[rows]
    if isinstance(images, RowFile) and not images.fits:
        return Arrays(images.select(rows), labels)
    return Arrays(np.asarray(images[rows]), labels)
