"""Scores of whole networks, and order statistics against a full sort, ties included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.errors import UserError
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning.masks import batch_gradients, kept, levels, score


def sorted_out(values, count):
    """The plain way: a stable sort, and the first `count` go."""
    mask = torch.ones(len(values), dtype=torch.bool)
    mask[torch.tensor(values).sort(stable=True).indices[:count]] = False
    return mask


@given(st.lists(st.integers(0, 5), min_size=3, max_size=30), st.data())
@settings(max_examples=40, deadline=None)
def test_levels_say_how_many_counts_an_entry_survives_as_a_stable_sort_does(values, data):
    counts = sorted(data.draw(st.lists(st.integers(0, len(values)), min_size=1, max_size=5)))
    scores = torch.tensor(values, dtype=torch.float32)
    found = levels(scores, counts)
    for number, count in enumerate(counts):
        assert torch.equal(found > number, sorted_out(values, count))
        assert torch.equal(kept(scores, count), sorted_out(values, count))


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


def test_a_criterion_refuses_a_granularity_that_it_does_not_score(network):
    with pytest.raises(UserError, match="l1 scores a weight, not a channel"):
        score("l1", prunable_layers(network()), "channel")
    with pytest.raises(UserError, match=r"must be one of .*l1.*l2_channel.*; got 'l9'"):
        score("l9", prunable_layers(network()), "weight")


def test_a_criterion_that_needs_gradients_says_so(network):
    with pytest.raises(ValueError, match="needs the gradients"):
        score("taylor", prunable_layers(network()), "weight")
    with pytest.raises(ValueError, match="no training batches"):
        score("taylor", prunable_layers(network()), "weight", gradients=[])


def test_gradients_leave_batch_statistics_and_mode_alone(network, make_batches):
    model = network().train()
    before = model.features[1].running_mean.clone()
    layers = prunable_layers(model)
    found = list(batch_gradients(model, layers, make_batches().epoch(0)))
    assert len(found) == 3
    assert list(found[0]) == list(layers)
    assert torch.equal(before, model.features[1].running_mean)
    assert model.training
