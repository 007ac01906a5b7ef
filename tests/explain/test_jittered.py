"""The jittered copy: the same pixels for every model, each image its own colours, the originals untouched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as oracle

from deepcompress import runtime
from deepcompress.data.augment import Jitter
from deepcompress.data.store import Arrays
from deepcompress.explain import jittered as module
from deepcompress.explain.jittered import jittered

JITTER = Jitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


@pytest.fixture
def arrays() -> Arrays:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    return Arrays(pixels, np.arange(6))


def test_the_same_seed_gives_the_same_pixels_and_another_does_not(arrays: Arrays) -> None:
    once, again, other = (jittered(arrays, JITTER, seed=seed).images for seed in (3, 3, 4))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_labels_and_the_originals_stay(arrays: Arrays) -> None:
    before = arrays.images.copy()
    changed = jittered(arrays, JITTER, seed=0)
    assert np.array_equal(arrays.images, before)
    assert np.array_equal(changed.labels, arrays.labels)
    assert all((a != b).any() for a, b in zip(changed.images, before, strict=True))


def test_each_image_has_its_own_brightness_as_torchvision_changes_it(arrays: Arrays) -> None:
    same = Arrays(np.repeat(arrays.images[:1], 6, axis=0), arrays.labels)
    changed = jittered(same, Jitter(brightness=0.5), seed=0).images
    factors = [np.median(image[image < 250] / same.images[0][image < 250].clip(1)) for image in changed]
    assert len({round(factor, 2) for factor in factors}) == 6
    for image, factor in zip(changed, factors, strict=True):
        expected = oracle.adjust_brightness(torch.from_numpy(same.images[0]).permute(2, 0, 1) / 255, factor) * 255
        assert np.abs(image - expected.permute(1, 2, 0).numpy()).max() < 4


def test_it_does_not_matter_how_many_images_are_changed_at_once(
    arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = jittered(arrays, JITTER, seed=0).images
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 4 * 8 * 8)
    assert np.array_equal(jittered(arrays, JITTER, seed=0).images, whole)


def test_no_ranges_change_nothing(arrays: Arrays) -> None:
    assert np.array_equal(jittered(arrays, Jitter(), seed=0).images, arrays.images)


@pytest.mark.parametrize("mib", [0, 1])
def test_the_copy_of_images_above_their_budget_is_in_a_file(
    arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mib: int
) -> None:
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path))
    changed = jittered(replace(arrays, budget_mib=mib), JITTER, seed=0)
    assert changed.images.flags.owndata == (mib == 1)
    assert changed.budget_mib == mib
    assert np.array_equal(changed.images, jittered(arrays, JITTER, seed=0).images)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
