"""Batch norms estimated anew: the statistics are those of the images, and everything else stays as it was."""

from __future__ import annotations

import pytest
import torch

from deepcompress.pruning.recalibrate import batch_statistics, recalibrate_
from tests.pruning.test_prune import VIEW, random_arrays


def test_the_statistics_are_those_of_the_images_and_nothing_else_changes(network, monkeypatch):
    monkeypatch.setattr("deepcompress.pruning.recalibrate.BATCH_SIZE", 8)
    model, images = network(), random_arrays(25, 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    convolved = []
    hook = model.features[0].register_forward_hook(lambda *given: convolved.append(given[-1]))
    recalibrate_(model, images, 100, view=VIEW, seed=0)
    hook.remove()
    assert [len(maps) for maps in convolved] == [8, 8, 9]  # a last batch of one image is part of the one before
    norm = model.features[1]
    torch.testing.assert_close(norm.running_mean, torch.stack([maps.mean((0, 2, 3)) for maps in convolved]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([maps.var((0, 2, 3)) for maps in convolved]).mean(0))
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if "running" in name}
    assert not model.training
    assert norm.momentum == 0.1


def test_so_many_images_are_drawn_as_asked_and_none_for_zero(network):
    model, images, seen = network(), random_arrays(24, 0), []
    model.register_forward_hook(lambda module, given, answers: seen.append(len(answers)))
    before = model.features[1].running_mean.clone()
    recalibrate_(model, images, 0, view=VIEW, seed=0)
    assert seen == []
    assert torch.equal(before, model.features[1].running_mean)
    recalibrate_(model, images, 6, view=VIEW, seed=0)
    assert seen == [6]


def test_a_network_without_batch_norm_is_left_alone(network):
    model = network(batch_norm=False)
    model.register_forward_hook(lambda *_: pytest.fail("a forward pass for nothing"))
    recalibrate_(model, random_arrays(24, 0), 8, view=VIEW, seed=0)


@torch.no_grad()
def test_with_statistics_of_the_batch_nothing_that_is_stored_is_read_or_written(network, make_batches):
    model, images = network(), next(make_batches().epoch(0)).images
    plain = model(images)
    with batch_statistics(model):
        found = model(images)
        torch.testing.assert_close(model.features[:2](images).mean((0, 2, 3)), model.features[1].bias)
    assert not torch.allclose(found, plain)
    assert torch.equal(plain, model(images))
    model.features[1].running_mean += 1
    with batch_statistics(model):
        assert torch.equal(found, model(images))
