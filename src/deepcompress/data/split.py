"""Split labelled images in two, class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence


def stratified(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the same share of every class at random.

    Of n images of a class round(fraction * n) are drawn, but at least one and at most n - 1: a class of two
    or more images is on both sides, a single image is always kept.

    Args:
        labels: Class indices, int64 (n,).
        fraction: Share to draw, 0..1.
        seed: Same seed, same draw.

    Returns:
        (kept_indices, split_indices): row numbers, each ascending; together they are all rows.
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(1, int(fraction * len(rows) + 0.5)), len(rows) - 1)
        drawn[random.permutation(rows)[:count]] = True
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def require_images(labels: np.ndarray, classes: Sequence[str], *, least: int, reason: str, where: str) -> None:
    """Refuse a class of fewer than `least` images with a UserError that says where, which and why."""
    counts = np.bincount(labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if count < least:
            raise UserError(f"{where}: class {name!r} must have at least {least} images, got {count}: {reason}")
