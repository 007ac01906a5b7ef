"""Batches against torchvision's transforms, and their order against themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import resize as oracle_resize

from deepcompress.data import batches as module
from deepcompress.data.augment import Augment, Jitter
from deepcompress.data.batches import Batch, Batches, Shard, View, resize
from deepcompress.data.store import Arrays, map_array
from tests.data.inputs import pixels

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
AUGMENT = Augment(flip=True, crop_padding=2, jitter=Jitter(brightness=0.3, hue=0.1))


@pytest.fixture
def arrays():
    return Arrays(images=pixels(0, 10, 8, 8, 3), labels=np.arange(10) % 3)


def make(arrays, size=8, batch_size=4, **chosen):
    return Batches(arrays, View(size, MEAN, STD), batch_size=batch_size, **chosen)


def joined(epoch):
    parts = list(epoch)
    return tuple(torch.cat([getattr(b, name) for b in parts]) for name in ("images", "labels", "indices"))


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(joined(left), joined(right), strict=True))


@pytest.mark.parametrize(("stored", "size"), [(32, 224), (8, 32), (40, 32), (33, 17), (256, 224), (1, 32)])
def test_resize_equals_torchvision_within_one_grey_level(stored, size):
    images = torch.from_numpy(pixels(0, 4, stored, stored, 3))
    channels_first = images.permute(0, 3, 1, 2).contiguous()
    expected = oracle_resize(channels_first, [size, size], antialias=True).permute(0, 2, 3, 1)
    assert (resize(images, size).int() - expected.int()).abs().max() <= 1
    as_on_a_gpu = resize(images.float(), size)
    assert (as_on_a_gpu - expected).abs().max() <= 1
    assert torch.equal(as_on_a_gpu, as_on_a_gpu.round())
    assert resize(images, stored) is images


@pytest.mark.parametrize("size", [8, 20])
def test_in_order_batches_equal_torchvision_transforms(arrays, size):
    batches = make(arrays, size)
    images, labels, indices = joined(batches.epoch())
    transform = v2.Compose(
        [v2.Resize(size, antialias=True), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    )
    expected = transform(torch.from_numpy(arrays.images).permute(0, 3, 1, 2))
    tolerance = 1e-5 if size == 8 else 1 / 255 / min(STD) + 1e-5
    assert (images - expected).abs().max() <= tolerance
    assert torch.equal(labels, torch.from_numpy(arrays.labels))
    assert torch.equal(indices, torch.arange(10))
    assert len(batches) == 3
    for batch, count in zip(batches.epoch(), (4, 4, 2), strict=True):
        assert (batch.images.shape, batch.images.dtype) == ((count, 3, size, size), torch.float32)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


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


def test_augmentation_belongs_to_the_image_not_to_the_batch_size_and_leaves_the_order(arrays):
    small, large = (make(arrays, seed=1, augment=AUGMENT, batch_size=size) for size in (3, 10))
    assert same(small.epoch(0), large.epoch(0))
    assert torch.equal(joined(small.epoch(0))[2], joined(make(arrays, seed=1).epoch(0))[2])


def test_a_mixed_image_takes_from_the_one_before_it_in_its_batch(arrays):
    """A blend of stored pixels is linear, so what is left without the own share is the other image's."""
    (batch,) = make(arrays, seed=1, batch_size=10, augment=Augment(mixup=1.0)).epoch(0)
    stored = joined(make(arrays).epoch())[0][batch.indices]
    share = batch.own_share[:, None, None, None]
    step = 0.5 / 255 / min(STD)  # a blend is rounded to whole grey levels
    assert torch.allclose(batch.images, share * stored + (1 - share) * stored.roll(1, 0), atol=step + 1e-4)
    assert torch.equal(batch.others, batch.labels.roll(1))


def test_the_loss_of_a_mixed_image_is_shared_between_its_labels():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels, others, share = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 1, 0, 1]), torch.tensor([0.5, 0.7, 1.0, 0.9])
    batch = Batch(logits, labels, torch.arange(4), None, others, share)
    soft = share[:, None] * torch.eye(3)[labels] + (1 - share)[:, None] * torch.eye(3)[others]
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(logits, soft, label_smoothing=smoothing)
        assert torch.allclose(batch.cross_entropy(logits, smoothing), expected, atol=1e-6)


@pytest.mark.parametrize("chosen", [{}, {"seed": 1}, {"seed": 1, "augment": AUGMENT}])
def test_mapped_images_and_those_kept_on_a_device_give_the_same_bits(arrays, tmp_path, monkeypatch, chosen):
    expected = make(arrays, 20, **chosen)
    np.save(tmp_path / "images.npy", arrays.images)
    mapped = make(Arrays(map_array(tmp_path / "images.npy"), arrays.labels), 20, **chosen)
    monkeypatch.setattr(module, "UPLOAD_BYTES", 500)
    monkeypatch.setattr(module, "_place", lambda arrays, device: module._upload(arrays.images, device))
    kept = make(arrays, 20, **chosen)
    assert isinstance(kept._images, torch.Tensor)
    for number in (0, 1):
        assert same(mapped.epoch(number), expected.epoch(number))
        assert same(kept.epoch(number), expected.epoch(number))


def test_a_device_keeps_the_images_that_fit_the_budget(arrays):
    small, large = (Arrays(np.zeros((2, side, side, 3), np.uint8), np.zeros(2)) for side in (400, 500))
    for images, fits in ((small, True), (large, False)):
        placed = module._place(replace(images, budget_mib=1), torch.device("meta"))
        assert isinstance(placed, torch.Tensor) == fits
        assert module._place(images, torch.device("cpu")) is images.images


def test_augment_without_a_seed_is_refused(arrays):
    with pytest.raises(ValueError, match="seed"):
        make(arrays, augment=AUGMENT)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_shards_follow_each_other_and_differ_by_one_row_at_most(rows, count):
    shards = [Shard(rank, count) for rank in range(count)]
    parts = [shard.part(slice(10, 10 + rows)) for shard in shards]
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(10, 10 + rows))
    sizes = shards[0].sizes(rows)
    assert sizes == [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("augment", [None, Augment(flip=True, cutmix=1.0)])
def test_batches_of_all_shards_make_the_batches_of_one_process(arrays, augment):
    batches = make(arrays, seed=0, batch_size=7, augment=augment)
    first, second = (batches.epoch(2, Shard(rank, 2)) for rank in (0, 1))
    for batch, one, two in zip(batches.epoch(2), first, second, strict=True):
        assert torch.equal(batch.images, torch.cat([one.images, two.images]))
        for part in (one, two):
            assert torch.equal(batch.labels, part.labels)
            assert torch.equal(batch.indices, part.indices)
            if augment:
                assert torch.equal(batch.others, part.others)
                assert torch.equal(batch.own_share, part.own_share)
