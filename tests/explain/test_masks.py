"""Masks belong to the validation images that the download stage wrote, or the mistake is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepcompress.data import store
from deepcompress.data.sources import shapes
from deepcompress.data.store import DataConfig
from deepcompress.errors import UserError
from deepcompress.explain import masks

SEED = 3
DATA = DataConfig(source="shapes", stored_size=16, validation_fraction=0.25, shapes={"train_per_class": 4})


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> store.Fit:
    folder: Path = tmp_path_factory.mktemp("shapes") / "fit"
    options = shapes.Options(train_per_class=4, test_per_class=1)
    source = shapes.load(options, stored_size=16, seed=SEED, workspace=folder)
    store.write_fit(folder, source, validation_fraction=0.25, seed=SEED)
    return store.open_fit(folder)


def test_a_mask_is_that_of_the_image_as_it_was_drawn(fit: store.Fit) -> None:
    found = masks.of_validation(DATA, fit, np.array([0, 7]), size=16, seed=SEED)
    assert found is not None
    for row, mask in zip((0, 7), found, strict=True):
        drawn = [shapes.draw(i, split="train", size=16, seed=SEED) for i in range(80)]
        (expected,) = [own for image, own in drawn if np.array_equal(image, fit.validation.images[row])]
        assert np.array_equal(mask, expected)


def test_a_larger_input_gets_each_pixel_of_the_mask_several_times(fit: store.Fit) -> None:
    small, large = (masks.of_validation(DATA, fit, np.array([1]), size=size, seed=SEED) for size in (16, 32))
    assert small is not None
    assert large is not None
    assert np.array_equal(large[0], small[0].repeat(2, 0).repeat(2, 1))


def test_images_of_another_seed_are_refused(fit: store.Fit) -> None:
    with pytest.raises(UserError, match=r"not those that params.yaml draws; run the download stage again"):
        masks.of_validation(DATA, fit, np.array([0]), size=16, seed=SEED + 1)


def test_photographs_have_no_masks(fit: store.Fit) -> None:
    other = DataConfig(source="cifar100", stored_size=16, validation_fraction=0.25)
    assert masks.of_validation(other, fit, np.array([0]), size=16, seed=SEED) is None
