"""The drawn data set: reproducible, balanced, with true masks, and out of reach of a linear classifier."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepcompress.data.sources import shapes
from deepcompress.data.store import Source

UNUSED = Path("unused")


def small(*, stored_size: int = 32, seed: int = 0, train: int = 3, test: int = 2) -> Source:
    options = shapes.Options(train_per_class=train, test_per_class=test)
    return shapes.load(options, stored_size=stored_size, seed=seed, workspace=UNUSED)


def some_scene(index: int = 0, seed: int = 0):
    return shapes.scene(index, np.random.default_rng(seed))


def images(part) -> np.ndarray:
    return np.stack([part.read(index) for index in range(len(part.labels))])


def test_there_are_twenty_classes_of_shape_and_texture():
    assert len(set(shapes.CLASSES)) == len(shapes.CLASSES) == 20
    pairs = itertools.product(shapes.SHAPES, shapes.TEXTURES)
    assert {tuple(name.split("_")) for name in shapes.CLASSES} == set(pairs)


@pytest.mark.parametrize("size", [1, 8, 33, 64])
def test_images_and_masks_have_the_size_asked_for(size):
    image, mask = shapes.draw(7, split="train", size=size, seed=0)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert mask.shape == (size, size)
    assert mask.dtype == bool
    assert np.array_equal(small(stored_size=size).train.read(7), image)


def test_same_seed_gives_same_bytes_in_any_order_and_number():
    first, again = small().train, small(train=9).train
    backwards = [again.read(index) for index in reversed(range(60))][::-1]
    assert np.array_equal(images(first), np.stack(backwards))


def test_seeds_splits_and_indices_all_give_other_images():
    keys = [(i, split, seed) for i in range(20) for split in ("train", "test") for seed in (0, 1, 2)]
    drawn = {shapes.draw(i, split=split, size=16, seed=seed)[0].tobytes() for i, split, seed in keys}
    assert len(drawn) == len(keys)


def test_checksum_follows_seed_and_size_and_nothing_else():
    checksum = small().origin["checksum"]
    assert checksum == small(train=5, test=1).origin["checksum"]
    assert checksum.startswith("sha256:")
    assert len({checksum, small(seed=1).origin["checksum"], small(stored_size=16).origin["checksum"]}) == 3


def test_a_scene_is_the_same_at_every_size():
    look, backdrop = some_scene()
    large, large_mask = shapes.compose(look, backdrop, 128)
    small_canvas, small_mask = shapes.compose(look, backdrop, 32)
    averaged = large.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    assert np.abs(averaged - small_canvas).mean() < 0.02
    assert abs(large_mask.mean() - small_mask.mean()) < 0.01


def test_object_changes_exactly_the_pixels_it_covers():
    for index in range(20):
        look, backdrop = some_scene(index, seed=index)
        canvas, mask = shapes.compose(look, backdrop, 32)
        bare, covered = shapes.paint_backdrop(backdrop, 32), shapes.cover(look, 32)
        assert np.array_equal(canvas[covered == 0], bare[covered == 0])
        assert np.allclose(canvas[covered == 1], shapes.paint_object(look, 32)[covered == 1], atol=1e-6)
        assert np.array_equal(mask, covered >= 0.5)


def test_each_object_fills_a_fair_share_of_its_image():
    shares = np.array([shapes.draw(index, split="test", size=32, seed=0)[1].mean() for index in range(200)])
    assert shares.min() > 0.08
    assert shares.max() < 0.5


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("disc", np.pi * 0.92**2),
        ("square", 1.64**2),
        ("triangle", 3 * np.sqrt(3) / 4 * 1.3**2),
        ("star", 5 * 1.28 * 0.58 * np.sin(np.pi / 5)),
        ("cross", 2 * 2.24 * 0.76 - 0.76**2),
    ],
)
def test_mask_has_the_area_of_its_shape(shape, area):
    look = replace(some_scene()[0], shape=shape, radius=0.7, centre=np.zeros(2, np.float32))
    assert shapes.cover(look, 256).mean() * 4 == pytest.approx(area * 0.7**2, rel=0.005)


@pytest.mark.parametrize(("texture", "share"), [("plain", 0), ("stripes", 0.5), ("checks", 0.5), ("dots", 0.283)])
def test_texture_shows_its_share_of_the_second_colour(texture, share):
    colours = np.array([[0, 0, 0], [1, 1, 1]], np.float32)
    look = replace(some_scene()[0], texture=texture, texture_period=0.2, texture_angle=0.0, colours=colours)
    assert shapes.paint_object(look, 200).mean() == pytest.approx(share, abs=0.005)


def test_object_is_lighter_than_its_background_whatever_the_hue():
    for index in range(20):
        look, backdrop = some_scene(index, seed=index)
        assert look.colours.mean() > backdrop.ends.mean()
    hues = np.array([some_scene(0, seed=seed)[0].colours[0] for seed in range(60)])
    assert set(hues.argmax(axis=1)) == {0, 1, 2}


def test_linear_classifier_on_raw_pixels_stays_far_under_half():
    source = small(stored_size=16, train=50, test=20)
    assert source.test is not None
    train, test = (images(part).reshape(len(part), -1) / 255 for part in (source.train, source.test))
    middle, targets = train.mean(axis=0), np.eye(20)[source.train.labels] - 1 / 20
    inputs = train - middle
    weights = np.linalg.solve(inputs.T @ inputs + 30 * np.eye(inputs.shape[1]), inputs.T @ targets)
    guesses = ((test - middle) @ weights).argmax(axis=1)
    assert (guesses == source.test.labels).mean() < 0.35
