"""Whole-batch augmentation against torchvision's functions, one image at a time."""

import pytest
import torch
from torchvision.transforms.v2 import functional as oracle

from deepcompress.data.augment import Augment, Jitter, mix, own_share

COLOURS = ("brightness", "contrast", "saturation", "hue")  # in the order in which they change


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.randint(0, 256, (12, 8, 8, 3), dtype=torch.uint8, generator=generator())


def one_by_one(images, change):
    """Apply change(image as uint8 (3, height, width), row) to each image."""
    changed = [change(image.permute(2, 0, 1), row) for row, image in enumerate(images)]
    return torch.stack(changed).permute(0, 2, 3, 1)


def test_nothing_chosen_draws_nothing_and_changes_nothing(images):
    augment = Augment()
    before = generator().get_state()
    source = generator()
    assert augment.draw(12, source) == {}
    assert torch.equal(source.get_state(), before)
    assert augment.apply(images, {}) is images


@pytest.mark.parametrize("augment", [Augment(flip=True), Augment(flip=True, crop_padding=3)])
def test_flip_and_crop_equal_torchvision(images, augment):
    draws = augment.draw(12, generator(1))

    def change(image, row):
        top, left = draws["corner"][row].tolist() if "corner" in draws else (0, 0)
        image = oracle.crop(oracle.pad(image, [augment.crop_padding]), top, left, 8, 8)
        return oracle.horizontal_flip(image) if draws["flip"][row] else image

    assert torch.equal(augment.apply(images, draws), one_by_one(images, change))
    assert 0 < draws["flip"].sum() < 12


def test_every_corner_of_the_padding_is_drawn():
    corners = Augment(crop_padding=1).draw(500, generator())["corner"]
    assert sorted(map(tuple, corners.unique(dim=0).tolist())) == [(y, x) for y in range(3) for x in range(3)]


@pytest.mark.parametrize("ranges", [*({name: 0.5} for name in COLOURS), {**dict.fromkeys(COLOURS, 0.4), "hue": 0.1}])
def test_colour_changes_equal_torchvision_on_float_images_in_the_stated_order(images, ranges):
    augment = Augment(jitter=Jitter(**ranges))
    draws = augment.draw(12, generator(3))
    assert draws.keys() == ranges.keys()

    def change(image, row):
        image = image.float() / 255
        for name in ranges:
            image = getattr(oracle, f"adjust_{name}")(image, float(draws[name][row]))
        return image * 255

    assert (augment.apply(images, draws).float() - one_by_one(images, change)).abs().max() <= 0.5 + 1e-3


def test_hue_keeps_grey_black_and_white():
    images = torch.tensor([0, 128, 255], dtype=torch.uint8)[:, None, None, None].expand(3, 2, 2, 3)
    draws = {"hue": torch.tensor([0.3, -0.5, 0.5])}
    assert torch.equal(Augment().apply(images, draws), images)


def test_factors_stay_within_their_ranges():
    draws = Augment(jitter=Jitter(brightness=1.5, contrast=0.2, hue=0.1)).draw(1000, generator())
    for name, low, high in (("brightness", 0, 2.5), ("contrast", 0.8, 1.2), ("hue", -0.1, 0.1)):
        assert low <= draws[name].min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < draws[name].max() <= high


def test_a_hole_is_one_rectangle_of_the_stated_area():
    white = torch.full((400, 40, 40, 3), 255, dtype=torch.uint8)
    draws = Augment(erase=0.5).draw(400, generator())
    holes = (Augment(erase=0.5).apply(white, draws) == 0).all(-1)
    areas = holes.float().mean(dim=(1, 2))
    assert 150 < (areas > 0).sum() < 250
    assert 0.01 < areas[areas > 0].min() < 0.05 < 0.28 < areas.max() < 0.36
    rows, columns = holes.any(2), holes.any(1)
    assert torch.equal(holes, rows[:, :, None] & columns[:, None, :])
    for sides in (rows, columns):
        assert (sides.int().diff(dim=1, prepend=torch.zeros(400, 1)) == 1).sum(1).le(1).all(), "no gaps"


@pytest.mark.parametrize("augment", [Augment(mixup=0.4), Augment(cutmix=1.0), Augment(mixup=0.4, cutmix=1.0)])
def test_a_mixed_image_is_made_of_both_by_the_share_of_its_label(augment):
    black, white = torch.zeros(200, 20, 20, 3, dtype=torch.uint8), torch.full((200, 20, 20, 3), 255, dtype=torch.uint8)
    draws = augment.draw(200, generator())
    mixed, share = mix(black, white, draws), own_share(draws, 20, 20)
    assert torch.allclose(mixed.float().mean(dim=(1, 2, 3)) / 255, 1 - share, atol=0.5 / 255 + 1e-6)
    assert 0.4 < share.min() < 0.6
    assert share.max() > 0.9
    pasted = (mixed == 255).any(3).flatten(1).any(1)
    assert bool(pasted.any()) == (augment.cutmix > 0)
    assert bool((~pasted & (share < 1)).any()) == (augment.mixup > 0)
