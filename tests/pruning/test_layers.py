"""What is in scope, and which models are dense."""

from __future__ import annotations

import pytest
import torch

from deepcompress.errors import UserError
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning.layers import batch_norms, in_scope, require_dense, require_names, zero_share


def test_scope_names_the_layers_that_a_method_may_prune(network):
    model = network()
    convolutions = [name for name in prunable_layers(model) if name.startswith("features")]
    assert list(in_scope(model, "unstructured", "all")) == list(prunable_layers(model))
    assert list(in_scope(model, "structured", "all")) == [*convolutions, "classifier.0", "classifier.3"]
    for method in ("unstructured", "structured"):
        assert list(in_scope(model, method, "conv")) == convolutions


def test_each_convolution_knows_its_batch_norm(network):
    assert batch_norms(network(batch_norm=False)) == {}
    found = batch_norms(network())
    assert found["features.0"] == "features.1"
    assert list(found) == list(in_scope(network(), "structured", "conv"))


def test_a_layer_that_is_not_there_is_named(network):
    with pytest.raises(UserError, match=r"params\.yaml: prune\.structured\.dense names 'features\.1'; the layers"):
        require_names(["features.1"], in_scope(network(), "structured", "conv"), "prune.structured.dense")


def test_zero_share_counts_weights_alone(network):
    model = network()
    assert zero_share(model) == 0
    with torch.no_grad():
        model.features[0].bias.zero_()
        model.classifier[6].weight.zero_()
    weights = sum(layer.weight.numel() for layer in prunable_layers(model).values())
    assert zero_share(model) == pytest.approx(model.classifier[6].weight.numel() / weights)


def test_a_pruned_model_is_refused(network):
    model = network(features=(2, 4, 8, 8, 16, 16, 16, 16))
    require_dense(model, "models/a.safetensors")
    with torch.no_grad():
        model.classifier[0].weight[0] = 0
    with pytest.raises(UserError, match=r"models/a\.safetensors: already pruned"):
        require_dense(model, "models/a.safetensors")
    with pytest.raises(UserError, match="channels are already removed"):
        require_dense(network(features=(2, 4, 8, 7, 16, 16, 16, 16)), "models/a.safetensors")
