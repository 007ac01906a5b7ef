"""Order statistics against a full sort, ties included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.pruning.scoring import kept, levels


def sorted_out(values, count):
    """The plain way: a stable sort, and the first `count` go."""
    mask = torch.ones(len(values), dtype=torch.bool)
    mask[torch.tensor(values).sort(stable=True).indices[:count]] = False
    return mask


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
@settings(max_examples=60, deadline=None)
def test_kept_equals_a_stable_sort(values, data):
    count = data.draw(st.integers(0, len(values)))
    found = kept(torch.tensor(values, dtype=torch.float32), count)
    assert torch.equal(found, sorted_out(values, count))


@given(st.lists(st.integers(0, 5), min_size=3, max_size=30), st.data())
@settings(max_examples=60, deadline=None)
def test_levels_say_how_many_counts_an_entry_survives(values, data):
    counts = sorted(data.draw(st.lists(st.integers(0, len(values)), min_size=1, max_size=5)))
    found = levels(torch.tensor(values, dtype=torch.float32), counts)
    for number, count in enumerate(counts):
        assert torch.equal(found > number, sorted_out(values, count))


def test_scores_keep_their_shape_in_any_memory_layout():
    scores = torch.rand(3, 2, 3, 3).contiguous(memory_format=torch.channels_last)
    found = kept(scores, 20)
    assert found.shape == scores.shape
    assert scores[~found].max() < scores[found].min()


def test_other_devices_and_types_sort_instead():
    scores = torch.rand(50)
    assert torch.equal(kept(scores.bfloat16(), 20), sorted_out(scores.bfloat16().tolist(), 20))


@pytest.mark.parametrize("counts", [[-1], [4], [2, 1]])
def test_counts_outside_their_range_are_refused(counts):
    with pytest.raises(ValueError, match="must rise from 0 to at most 3"):
        levels(torch.rand(3), counts)
