"""Order statistics against a full sort; masks hold through training, and removing what they drop changes no answer."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning import masks
from deepcompress.pruning.masks import batch_gradients, kept, levels, remove_channels
from tests.nets import batches, same, state, vgg
from tests.pruning.conftest import scored

OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.1, fused=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1, fused=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.1, fused=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_zeros_stay_zero_through_training(optimizer, granularity):
    model = vgg()
    warm = OPTIMIZERS[optimizer](model.parameters())
    batch = next(batches(12, 5).epoch(0))
    model.train()
    nn.functional.cross_entropy(model(batch.images), batch.labels).backward()
    warm.step()  # so that momentum is there before the masks are
    counts = {"features.0": 1, "features.8": 5, "classifier.3": 4}
    method, criterion = {"weight": ("unstructured", "l1"), "channel": ("structured", "l2_channel")}[granularity]
    scores = scored(model, method, criterion, counts)
    flags = {name: kept(scores[name], count) for name, count in counts.items()}
    found = masks.parameter_masks(model, granularity, flags)
    masks.apply_(model, found)
    hold, before = masks.hold(model, found), model.features[0].weight.detach().clone()
    for _ in range(3):
        warm.zero_grad()
        nn.functional.cross_entropy(model(batch.images), batch.labels).backward()
        warm.step()
        hold()
        for name, mask in found.items():
            parameter = model.get_parameter(name)
            assert not parameter[~mask.expand_as(parameter)].any()
    assert not torch.equal(before, model.features[0].weight)


def test_what_is_frozen_is_left_alone():
    model = vgg()
    found = {
        name: torch.zeros_like(model.get_parameter(name), dtype=torch.bool)
        for name in ("features.0.weight", "classifier.6.weight")
    }
    hold = masks.hold(model, found)
    model.features.requires_grad_(False)
    frozen = model.features[0].weight.clone()
    hold()
    assert torch.equal(model.features[0].weight, frozen)
    assert not model.classifier[6].weight.any()
    masks.apply_(model, found)
    assert not model.features[0].weight.any()


def test_what_is_dropped_becomes_plain_zero_even_from_infinity():
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0, float("inf")]]))
    masks.apply_(layer, {"weight": torch.tensor([[False, False]])})
    assert str(layer.weight.tolist()) == "[[0.0, 0.0]]"


def test_the_zeros_of_a_sparse_model_are_kept_however_few_a_layer_has():
    model = vgg()
    assert masks.keep_zeros(model) is None
    with torch.no_grad():
        model.classifier[3].weight.view(-1)[0] = 0
        hold = masks.keep_zeros(model)
        model.classifier[3].weight += 1
    hold()
    assert (model.classifier[3].weight == 0).nonzero().tolist() == [[0, 0]]


def test_only_weights_with_zeros_enough_are_stored_as_a_bitmask():
    model = vgg()
    with torch.no_grad():
        model.classifier[0].weight[:8] = 0
        model.classifier[3].weight.view(-1)[0] = 0
        model.features[0].bias.zero_()
    assert masks.encodings(model) == {"classifier.0.weight": "bitmask"}


def test_the_original_stays_as_it_is_and_what_remains_trains_on_alike():
    model = vgg().train()
    model.features[0].weight.requires_grad_(False)
    before, random = state(model), torch.get_rng_state()
    removed = remove_channels(model, {"classifier.0": torch.arange(16) > 3})
    assert torch.equal(random, torch.get_rng_state())
    assert (type(removed), removed.training, removed.spec.hidden) == (type(model), True, (12, 16))
    batch = next(batches(12, 5).epoch(0))
    torch.nn.functional.cross_entropy(removed(batch.images), batch.labels).backward()
    assert [name for name, parameter in removed.named_parameters() if parameter.grad is None] == ["features.0.weight"]
    with torch.no_grad():
        for tensor in removed.state_dict().values():
            tensor.zero_()
    assert same(before, model.state_dict())


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


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        *(([-1], "must rise from 0 to at most 300"), ([301], "at most 300, got"), ([2, 1], "must rise from 0")),
        (range(1, 257), "at most 255 counts, got 256"),  # as a byte holds
    ],
)
def test_counts_outside_their_range_and_more_than_there_can_be_are_refused(counts, message):
    assert levels(torch.arange(300.0), range(1, 256)).max() == 255
    with pytest.raises(ValueError, match=message):
        levels(torch.arange(300.0), counts)


@pytest.mark.parametrize("trains", [True, False])
def test_gradients_are_those_of_autograd_also_of_frozen_weights_and_change_nothing(trains) -> None:
    model, seen = vgg(), batches(8, 4)
    model.add_module("unused", nn.Linear(3, 2))  # no answer depends on it: zeros
    layers = prunable_layers(model)
    weights = [layer.weight for layer in layers.values()]
    losses = [F.cross_entropy(model(batch.images), batch.labels) for batch in seen.epoch(0)]
    expected = [torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True) for loss in losses]
    model.train().requires_grad_(trains)
    before, found = state(model), list(batch_gradients(model, layers, seen.epoch(0)))
    for ours, theirs in zip(found, expected, strict=True):
        assert list(ours) == list(layers)
        assert all(map(torch.equal, ours.values(), theirs))
        assert not ours["unused"].any()
    assert same(before, model.state_dict())
    assert model.training
    assert {parameter.requires_grad for parameter in model.parameters()} == {trains}
