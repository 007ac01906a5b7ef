"""Parts of a batch: every row is one process's, in order."""

from __future__ import annotations

import pytest
import torch

from deepcompress.data.batches import Batches, View
from deepcompress.data.share import Share
from deepcompress.data.store import Arrays
from tests.data.inputs import pixels

VIEW = View(8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_parts_follow_each_other_and_differ_by_one_row_at_most(rows: int, count: int) -> None:
    shares = [Share(rank, count) for rank in range(count)]
    parts = [share.part(slice(10, 10 + rows)) for share in shares]
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(10, 10 + rows))
    sizes = shares[0].sizes(rows)
    assert sizes == [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_one_process_has_no_share() -> None:
    assert Share.own() is None


def test_batches_of_all_shares_make_the_batches_of_one_process() -> None:
    arrays = Arrays(pixels(0, 11, 8, 8, 3), torch.arange(11).numpy() % 3)
    batches = Batches(arrays, VIEW, batch_size=5, seed=0)
    whole = list(batches.epoch(2))
    first, second = (list(batches.epoch(2, Share(rank, 2))) for rank in (0, 1))
    for batch, one, two in zip(whole, first, second, strict=True):
        assert torch.equal(batch.images, torch.cat([one.images, two.images]))
        assert all(torch.equal(batch.labels, part.labels) for part in (one, two))
        assert all(torch.equal(batch.indices, part.indices) for part in (one, two))
