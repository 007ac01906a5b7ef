"""A contract over every criterion, and each one's own numbers."""

from __future__ import annotations

import pytest
import torch

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.models.vgg import prunable_layers
from deepcompress.pruning.layers import norm_scales
from deepcompress.pruning.masks import LayerView, batch_gradients, score
from tests import nets
from tests.nets import same, state, vgg

CASES = [
    (name, granularity)
    for name in params.plugins("pruning.criteria")
    for granularity in params.plugin("pruning.criteria", name).GRANULARITIES
]


def scored(model, batches, name, granularity, seed=3):
    layers = prunable_layers(model)
    return score(name, layers, granularity, seed=seed, gradients=batch_gradients(model, layers, batches.epoch(0)))


@pytest.mark.parametrize(("name", "granularity"), CASES)
def test_every_criterion_scores_each_unit_alike_twice_and_leaves_the_model_alone(name, granularity):
    model, batches = vgg(), nets.batches(12, 5)
    before = state(model)
    first, second = (scored(model, batches, name, granularity) for _ in range(2))
    for layer, module in prunable_layers(model).items():
        shape = module.weight.shape if granularity == "weight" else module.weight.shape[:1]
        assert first[layer].shape == shape
        assert (first[layer] >= 0).all()
        assert first[layer].isfinite().all()
        assert not first[layer].requires_grad
        assert torch.equal(first[layer], second[layer])
    assert same(before, model.state_dict())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("name", "granularity"), CASES)
def test_every_criterion_refuses_weights_that_are_not_finite(name, granularity):
    model = vgg()
    with torch.no_grad():
        model.features[4].weight[0] = float("nan")
    with pytest.raises(UserError, match=r"features\.4: a weight is not finite"):
        scored(model, nets.batches(12, 5), name, granularity)


def test_scores_that_are_not_finite_are_told_with_layer_criterion_and_cause():
    model = vgg()
    with torch.no_grad():
        model.classifier[6].weight.mul_(1e38)  # finite, and so large that no answer is
    with pytest.raises(
        UserError, match=r": a taylor score .*; its weights are, so it is the loss of training images that"
    ):
        scored(model, nets.batches(12, 5), "taylor", "weight")
    layers = prunable_layers(model)
    with pytest.raises(UserError, match=r"^classifier\.6: a l2_channel score .*, so it is what the criterion makes of"):
        score("l2_channel", layers, "channel")


def subject(weight, granularity, **more):
    return LayerView("layer", torch.tensor(weight), granularity, **more)


def test_bn_scale_is_that_of_the_norm_behind_and_the_length_where_there_is_none():
    bn_scale = params.plugin("pruning.criteria", "bn_scale")
    weight = [[3.0, -4.0], [0.0, 1.0]]
    assert bn_scale.scores(subject(weight, "channel", norm_scale=torch.tensor([0.5, -2.0]))).tolist() == [0.5, 2.0]
    assert bn_scale.scores(subject(weight, "channel")).tolist() == [5.0, 1.0]


def test_every_layer_is_scored_by_its_own_batch_norm():
    model = vgg()
    found = score("bn_scale", prunable_layers(model), "channel", norm_scales=norm_scales(model))
    assert torch.equal(found["features.4"], model.features[5].weight.detach().abs())
    assert torch.equal(found["classifier.0"], model.classifier[0].weight.detach().norm(dim=1))


def test_taylor_multiplies_weight_and_gradient_and_sums_a_filter_before_the_absolute_value():
    taylor = params.plugin("pruning.criteria", "taylor")
    weight, gradient = [[1.0, 2.0], [3.0, -1.0]], torch.tensor([[2.0, -3.0], [0.5, 0.0]])
    single = taylor.scores(subject(weight, "weight", gradient=gradient))
    assert single.tolist() == [[2.0, 6.0], [1.5, 0.0]]
    assert taylor.scores(subject(weight, "channel", gradient=gradient)).tolist() == [4.0, 1.5]


def test_taylor_averages_batches_after_the_absolute_value():
    layers = {"classifier.6": prunable_layers(vgg())["classifier.6"]}
    gradient = torch.ones_like(layers["classifier.6"].weight)
    gradients = [{"classifier.6": gradient}, {"classifier.6": -gradient}]
    found = score("taylor", layers, "weight", gradients=gradients)["classifier.6"]
    assert torch.equal(found, layers["classifier.6"].weight.abs())


def test_random_differs_by_seed_and_layer():
    layers = prunable_layers(vgg())
    one, other = (score("random", layers, "channel", seed=seed) for seed in (1, 2))
    assert not torch.equal(one["features.0"], other["features.0"])
    assert not torch.equal(one["classifier.0"], one["classifier.3"])
