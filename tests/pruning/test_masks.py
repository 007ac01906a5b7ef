"""Masks hold through every optimizer; removing what they drop changes no answer: the masked model is the oracle."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepcompress.errors import UserError
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning import masks
from deepcompress.pruning.layers import in_scope
from deepcompress.pruning.masks import remove_channels
from tests.nets import assert_equal_outputs

OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.1, fused=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1, fused=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.1, fused=True),
}


def chosen(model, method):
    layers = prunable_layers(model)
    if method == "unstructured":
        scores = {name: layer.weight.detach().abs() for name, layer in layers.items()}
        return masks.unstructured(scores, {name: len(layer.weight) for name, layer in layers.items()})
    scores = {name: layer.weight.detach().flatten(1).norm(dim=1) for name, layer in layers.items()}
    return masks.structured(model, scores, {"features.0": 1, "features.8": 5, "classifier.3": 4})


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ["unstructured", "structured"])
def test_zeros_stay_zero_through_training(optimizer, method, network, make_batches):
    model = network()
    warm = OPTIMIZERS[optimizer](model.parameters())
    batch = next(make_batches().epoch(0))
    model.train()
    nn.functional.cross_entropy(model(batch.images), batch.labels).backward()
    warm.step()  # so that momentum is there before the masks are
    found = chosen(model, method)
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


def test_what_is_frozen_is_left_alone(network):
    model = network()
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


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_masked_filter_gives_an_exactly_empty_map(batch_norm, network, make_batches):
    model = network(batch_norm=batch_norm)
    scores = {"features.0": torch.tensor([3.0, 1.0, 2.0, 4.0])}
    found = masks.structured(model, scores, {"features.0": 2})
    assert set(found) == {"features.0.weight", "features.0.bias"} | (
        {"features.1.weight", "features.1.bias"} if batch_norm else set()
    )
    masks.apply_(model, found)
    with torch.no_grad():
        maps = model.features[: 2 if batch_norm else 1](next(make_batches().epoch(0)).images)
    assert not maps[:, 1:3].any()
    assert maps[:, 0].any()


def test_unstructured_masks_drop_the_smallest_and_leave_whole_layers_unnamed():
    scores = {"a": torch.tensor([[3.0, 1.0], [2.0, 4.0]]), "b": torch.ones(2, 2)}
    found = masks.unstructured(scores, {"a": 2, "b": 0})
    assert found["a.weight"].tolist() == [[True, False], [False, True]]
    assert list(found) == ["a.weight"]


def test_what_is_dropped_becomes_plain_zero_even_from_infinity():
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0, float("inf")]]))
    masks.apply_(layer, {"weight": torch.tensor([[False, False]])})
    assert str(layer.weight.tolist()) == "[[0.0, 0.0]]"


def test_only_weights_with_zeros_enough_are_stored_as_a_bitmask(network):
    model = network()
    with torch.no_grad():
        model.classifier[0].weight[:8] = 0
        model.classifier[3].weight.view(-1)[0] = 0
        model.features[0].bias.zero_()
    assert masks.encodings(model) == {"classifier.0.weight": "bitmask"}


def masked_and_removed(model, scope="all"):
    layers = in_scope(model, "structured", scope)
    scores = {name: layer.weight.detach().flatten(1).norm(dim=1) for name, layer in layers.items()}
    pruned = {name: 1 + place % (len(layer.weight) - 1) for place, (name, layer) in enumerate(layers.items())}
    found = masks.structured(model, scores, pruned)
    masks.apply_(model, found)
    return model, remove_channels(model, masks.kept_channels(model, found)), pruned


@pytest.mark.parametrize(
    ("batch_norm", "image_size", "scope"), [(True, 32, "all"), (True, 64, "conv"), (False, 64, "all")]
)
def test_pruned_model_equals_masked_model(batch_norm, image_size, scope, network, make_batches):
    masked, removed, pruned = masked_and_removed(network(batch_norm=batch_norm, image_size=image_size), scope)
    images = torch.cat([batch.images for batch in make_batches(image_size).epoch(0)])
    with torch.no_grad():
        assert_equal_outputs(removed(images), masked(images))
    for name, count in pruned.items():
        kept = len(prunable_layers(removed)[name].weight)
        assert kept == len(prunable_layers(masked)[name].weight) - count


def test_the_original_stays_as_it_is_and_what_remains_trains_on_alike(network, make_batches):
    model = network().train()
    model.features[0].weight.requires_grad_(False)
    before, state = {key: value.clone() for key, value in model.state_dict().items()}, torch.get_rng_state()
    removed = remove_channels(model, {"classifier.0": torch.arange(16) > 3})
    assert torch.equal(state, torch.get_rng_state())
    assert (type(removed), removed.training, removed.spec.hidden) == (type(model), True, (12, 16))
    batch = next(make_batches().epoch(0))
    torch.nn.functional.cross_entropy(removed(batch.images), batch.labels).backward()
    assert [name for name, parameter in removed.named_parameters() if parameter.grad is None] == ["features.0.weight"]
    with torch.no_grad():
        for tensor in removed.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_what_cannot_be_removed_is_refused(network):
    model = network()
    with pytest.raises(ValueError, match=r"features\.0: needs 4 flags with at least one channel kept"):
        remove_channels(model, {"features.0": torch.zeros(4, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"features\.0: needs 4 flags"):
        remove_channels(model, {"features.0": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(ValueError, match="its outputs are the classes"):
        remove_channels(model, {"classifier.6": torch.tensor([True, False, True, True])})
    with pytest.raises(UserError, match="the layers are"):
        remove_channels(model, {"features.1": torch.ones(4, dtype=torch.bool)})
