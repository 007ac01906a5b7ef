"""Batches against torchvision's transforms, and their order against themselves."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import resize as oracle_resize

from deepcompress.data import batches as module
from deepcompress.data import placement
from deepcompress.data.augment import Augment, Jitter
from deepcompress.data.batches import Batches, View, resize
from deepcompress.data.row_file import RowFile
from deepcompress.data.store import Arrays

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
AUGMENT = Augment(flip=True, crop_padding=2, jitter=Jitter(brightness=0.3, hue=0.1))


def some_images(count=10, side=8):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.fixture
def arrays():
    return Arrays(images=some_images(), labels=np.arange(10) % 3)


def make(arrays, size=8, batch_size=4, **chosen):
    return Batches(arrays, View(size, MEAN, STD), batch_size=batch_size, **chosen)


def joined(epoch):
    parts = list(epoch)
    return tuple(torch.cat([getattr(b, name) for b in parts]) for name in ("images", "labels", "indices"))


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(joined(left), joined(right), strict=True))


@pytest.mark.parametrize(("stored", "size"), [(32, 224), (8, 32), (40, 32), (33, 17), (256, 224), (1, 32)])
def test_resize_equals_torchvision_within_one_grey_level(stored, size):
    images = torch.from_numpy(some_images(4, stored))
    channels_first = images.permute(0, 3, 1, 2).contiguous()
    expected = oracle_resize(channels_first, [size, size], antialias=True).permute(0, 2, 3, 1)
    assert (resize(images, size).int() - expected.int()).abs().max() <= 1
    as_on_a_gpu = module._resize_float(images.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)
    assert (as_on_a_gpu - expected).abs().max() <= 1


def test_images_of_the_right_size_are_not_resized():
    images = torch.from_numpy(some_images())
    assert resize(images, 8) is images


@pytest.mark.parametrize("size", [8, 20])
def test_in_order_batches_equal_torchvision_transforms(arrays, size):
    images, labels, indices = joined(make(arrays, size).epoch())
    transform = v2.Compose(
        [v2.Resize(size, antialias=True), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    expected = transform(torch.from_numpy(arrays.images).permute(0, 3, 1, 2))
    tolerance = 1e-5 if size == 8 else 1 / 255 / min(STD) + 1e-5
    assert (images - expected).abs().max() <= tolerance
    assert torch.equal(labels, torch.from_numpy(arrays.labels))
    assert torch.equal(indices, torch.arange(10))


@pytest.mark.parametrize("size", [8, 20])
def test_batches_are_channels_last_float32_and_the_last_one_is_short(arrays, size):
    batches = make(arrays, size)
    shapes = [batch.images.shape for batch in batches.epoch()]
    assert shapes == [(4, 3, size, size), (4, 3, size, size), (2, 3, size, size)]
    assert len(batches) == 3
    for batch in batches.epoch():
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.images.dtype == torch.float32


def test_a_shuffled_epoch_holds_every_image_once_with_its_label(arrays):
    images, labels, indices = joined(make(arrays, seed=1).epoch(3))
    assert sorted(indices.tolist()) == list(range(10))
    assert indices.tolist() != list(range(10))
    plain_images, plain_labels, _ = joined(make(arrays).epoch())
    assert torch.equal(images, plain_images[indices])
    assert torch.equal(labels, plain_labels[indices])


def test_an_epoch_depends_on_seed_and_number_alone(arrays):
    interrupted, resumed = (make(arrays, seed=1, augment=AUGMENT) for _ in range(2))
    next(interrupted.epoch(0))
    list(interrupted.epoch(1))
    assert same(interrupted.epoch(2), resumed.epoch(2))
    assert not same(resumed.epoch(2), resumed.epoch(3))
    assert not same(resumed.epoch(2), make(arrays, seed=2, augment=AUGMENT).epoch(2))


def test_augmentation_does_not_change_the_order(arrays):
    indices = joined(make(arrays, seed=1).epoch(0))[2]
    assert torch.equal(joined(make(arrays, seed=1, augment=AUGMENT).epoch(0))[2], indices)


def test_augmentation_belongs_to_the_image_not_to_the_batch_size(arrays):
    small, large = (make(arrays, seed=1, augment=AUGMENT, batch_size=size) for size in (3, 10))
    assert same(small.epoch(0), large.epoch(0))


@pytest.mark.parametrize("budget_bytes", [0, 10 * 8 * 8 * 3 - 1, 10 * 8 * 8 * 3])
@pytest.mark.parametrize("chosen", [{}, {"seed": 1}, {"seed": 1, "augment": AUGMENT}])
def test_images_in_a_file_give_the_same_bits_below_and_above_the_budget(arrays, tmp_path, budget_bytes, chosen):
    np.save(tmp_path / "images.npy", arrays.images)
    stored = RowFile.open(tmp_path / "images.npy", budget_bytes=budget_bytes)
    filed = make(Arrays(images=stored, labels=arrays.labels), 20, **chosen)
    assert isinstance(filed._images, RowFile) == (budget_bytes < arrays.images.nbytes)
    for number in (0, 1):
        assert same(filed.epoch(number), make(arrays, 20, **chosen).epoch(number))


def test_an_epoch_that_is_left_early_leaves_no_thread(arrays, tmp_path):
    np.save(tmp_path / "images.npy", arrays.images)
    stored = RowFile.open(tmp_path / "images.npy", budget_bytes=0)
    before = threading.active_count()
    epoch = make(Arrays(images=stored, labels=arrays.labels), batch_size=1).epoch()
    next(epoch)
    assert threading.active_count() == before + 1
    epoch.close()
    assert threading.active_count() == before


def test_images_kept_on_a_device_give_the_same_batches(arrays, monkeypatch):
    expected = make(arrays, 20, seed=1, augment=AUGMENT)
    monkeypatch.setattr(placement, "UPLOAD_BYTES", 500)
    monkeypatch.setattr(module, "place", placement.upload)
    kept = make(arrays, 20, seed=1, augment=AUGMENT)
    assert isinstance(kept._images, torch.Tensor)
    assert same(kept.epoch(0), expected.epoch(0))


def test_batches_that_are_held_do_not_change(arrays):
    batches = make(arrays, batch_size=1)
    held = [(batch.images, batch.images.clone()) for batch in batches.epoch()]
    assert len(held) > module.KEPT_BUFFERS
    view_only = next(batches.epoch()).images[0, 0].view(-1)  # shares memory with a batch that is gone
    before = view_only.clone()
    list(batches.epoch())
    assert all(torch.equal(images, copy) for images, copy in held)
    assert torch.equal(view_only, before)


def test_memory_of_released_batches_is_used_again(arrays):
    addresses = {batch.images.data_ptr() for batch in make(arrays, batch_size=1).epoch()}
    assert len(addresses) == 2


def test_augment_without_a_seed_is_refused(arrays):
    with pytest.raises(ValueError, match="seed"):
        make(arrays, augment=AUGMENT)
