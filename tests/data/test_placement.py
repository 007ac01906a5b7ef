"""Gathering batches from a file: the right images, and the same few buffers however many batches there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from deepcompress.data import placement
from deepcompress.data.row_file import RowFile

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 3), dtype=np.uint8)
CPU = torch.device("cpu")


@pytest.fixture
def stored(tmp_path: Path) -> RowFile:
    np.save(tmp_path / "images.npy", IMAGES)
    return RowFile.open(tmp_path / "images.npy", budget_bytes=0)


def rows(*sizes: int) -> list[torch.Tensor]:
    order = torch.randperm(len(IMAGES), generator=torch.Generator().manual_seed(0))
    return list(order[: sum(sizes)].split(sizes))


@pytest.mark.parametrize("sizes", [(), (5,), (8,) * 8, (3, 9, 1, 7, 2, 9, 9, 4), (20, 1, 1, 1, 1, 20)])
def test_each_batch_has_its_images_while_it_is_worked_on(stored: RowFile, sizes: tuple[int, ...]) -> None:
    batches = rows(*sizes)
    found = placement.gathered(stored, ((part, part) for part in batches), CPU)
    for part, images in zip(batches, found, strict=True):
        np.testing.assert_array_equal(images.numpy(), IMAGES[part.numpy()])


def test_the_batch_before_keeps_its_images(stored: RowFile) -> None:
    batches = rows(*(4,) * 16)
    before = None
    for part, images in zip(batches, placement.gathered(stored, ((part, part) for part in batches), CPU), strict=True):
        if before is not None:
            np.testing.assert_array_equal(before[1].numpy(), IMAGES[before[0].numpy()])
        before = part, images


def test_many_batches_take_the_memory_of_a_few(stored: RowFile) -> None:
    batches = rows(*(4,) * 16)
    found = placement.gathered(stored, ((part, part) for part in batches), CPU)
    held = [images.untyped_storage() for images in found]  # held, so that no address is given twice
    assert len({storage.data_ptr() for storage in held}) == placement.HELD
