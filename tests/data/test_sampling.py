"""A sample of images: drawn by a seed, kept in order, and never more than there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepcompress.data.row_file import RowFile
from deepcompress.data.sampling import sampled
from deepcompress.data.store import Arrays

ARRAYS = Arrays(
    images=np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3), labels=np.repeat(np.arange(4), 10)
)


def test_images_and_labels_stay_together_and_in_order() -> None:
    found = sampled(ARRAYS, 12, seed=0)
    rows = found.images[:, 0, 0, 0]
    assert len(found) == 12
    assert (np.diff(rows) > 0).all()
    assert (found.labels == ARRAYS.labels[rows]).all()


def test_the_seed_decides() -> None:
    same, again, other = (sampled(ARRAYS, 12, seed=seed).images for seed in (0, 0, 1))
    assert (same == again).all()
    assert not (same == other).all()


def test_classes_that_lie_in_blocks_are_all_met() -> None:
    assert set(sampled(ARRAYS, 20, seed=0).labels) == {0, 1, 2, 3}


def test_all_images_come_back_untouched_when_no_fewer_are_asked_for() -> None:
    assert sampled(ARRAYS, 40, seed=0) is ARRAYS
    assert sampled(ARRAYS, 41, seed=0) is ARRAYS


@pytest.mark.parametrize("budget_bytes", [0, 120])
def test_of_images_above_the_budget_a_sample_is_not_read_yet(tmp_path: Path, budget_bytes: int) -> None:
    np.save(tmp_path / "images.npy", ARRAYS.images)
    stored = RowFile.open(tmp_path / "images.npy", budget_bytes=budget_bytes)
    found = sampled(Arrays(stored, ARRAYS.labels), 12, seed=0)
    assert isinstance(found.images, RowFile) == (budget_bytes < ARRAYS.images.nbytes)
    expected = sampled(ARRAYS, 12, seed=0)
    assert np.array_equal(found.images[:], expected.images)
    assert np.array_equal(found.labels, expected.labels)
