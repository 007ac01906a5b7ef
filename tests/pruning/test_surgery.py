"""The masked dense model is the oracle: removing channels changes no answer."""

from __future__ import annotations

import pytest
import torch

from deepcompress.errors import UserError
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning import masks
from deepcompress.pruning.layers import in_scope
from deepcompress.pruning.masks import remove_channels


def masked_and_removed(model, scope="all"):
    layers = in_scope(model, "structured", scope)
    scores = {name: layer.weight.detach().flatten(1).norm(dim=1) for name, layer in layers.items()}
    pruned = {name: 1 + place % (len(layer.weight) - 1) for place, (name, layer) in enumerate(layers.items())}
    found = masks.structured(model, scores, pruned)
    masks.apply_(model, found)
    return model, remove_channels(model, masks.kept_channels(model, found)), pruned


@pytest.mark.parametrize("scope", ["all", "conv"])
@pytest.mark.parametrize("image_size", [32, 64])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_pruned_model_equals_masked_model(batch_norm, image_size, scope, network, make_batches):
    masked, removed, pruned = masked_and_removed(network(batch_norm=batch_norm, image_size=image_size), scope)
    images = torch.cat([batch.images for batch in make_batches(image_size).epoch(0)])
    with torch.no_grad():
        assert (masked(images) - removed(images)).abs().max() < 1e-5
    for name, count in pruned.items():
        kept = len(prunable_layers(removed)[name].weight)
        assert kept == len(prunable_layers(masked)[name].weight) - count


def test_flatten_takes_whole_maps_channel_by_channel(network):
    model = network(image_size=64)
    kept = torch.ones(12, dtype=torch.bool)
    kept[[0, 5]] = False
    removed = remove_channels(model, {"features.25": kept})
    columns = [column for channel in range(12) if kept[channel] for column in range(4 * channel, 4 * channel + 4)]
    assert torch.equal(removed.classifier[0].weight, model.classifier[0].weight[:, columns])


def test_the_original_stays_as_it_is_and_shares_no_memory(network):
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    removed = remove_channels(model, {"features.0": torch.tensor([True, False, True, True])})
    with torch.no_grad():
        for tensor in removed.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_random_state_mode_and_frozen_parameters_are_kept(network):
    model = network().train()
    model.features[0].weight.requires_grad_(False)
    state = torch.get_rng_state()
    removed = remove_channels(model, {"classifier.0": torch.arange(16) > 3})
    assert torch.equal(state, torch.get_rng_state())
    assert removed.training
    assert not removed.features[0].weight.requires_grad
    assert removed.classifier[0].weight.requires_grad
    assert removed.spec.hidden == (12, 16)
    assert type(removed) is type(model)


def test_a_smaller_model_trains(network, make_batches):
    _, removed, _ = masked_and_removed(network())
    batch = next(make_batches().epoch(0))
    torch.nn.functional.cross_entropy(removed.train()(batch.images), batch.labels).backward()
    assert all(parameter.grad is not None for parameter in removed.parameters())


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
