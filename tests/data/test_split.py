"""The stratified split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.data.split import require_images, stratified
from deepcompress.errors import UserError


def test_every_class_gives_the_same_share() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 40])
    kept, split = stratified(labels, 0.1, seed=0)
    assert np.bincount(labels[split]).tolist() == [1, 2, 4]
    assert np.bincount(labels[kept]).tolist() == [9, 18, 36]


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**63 - 1),
)
def test_both_sides_together_are_all_rows_and_hold_every_class_of_two(
    labels: list[int], fraction: float, seed: int
) -> None:
    array = np.array(labels)
    kept, split = stratified(array, fraction, seed)
    assert sorted([*kept, *split]) == list(range(len(labels)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(split) > 0).all()
    for label in set(labels):
        assert label in array[kept]
        assert (label in array[split]) == (labels.count(label) > 1)


def test_the_seed_alone_decides() -> None:
    labels = np.arange(200) % 4
    draws = [stratified(labels, 0.25, seed=seed)[1].tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_a_class_with_too_few_images_is_named() -> None:
    with pytest.raises(UserError, match=r"^pets\.zip: class 'bee' must have at least 2 images, got 1: one for each$"):
        require_images(np.array([0, 0, 1]), ["ant", "bee"], least=2, reason="one for each", where="pets.zip")
    with pytest.raises(UserError, match="class 'cat' must have at least 1 images, got 0"):
        require_images(np.array([0, 1]), ["ant", "bee", "cat"], least=1, reason="", where="pets.zip")
