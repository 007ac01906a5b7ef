"""A contract over every criterion, and each one's own numbers."""

import pytest
import torch

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.pruning import masks
from deepcompress.pruning.layers import in_scope
from deepcompress.pruning.masks import LayerView
from tests.nets import VIEW, same, state, vgg
from tests.pruning.conftest import FIT, scored, settings

METHODS = {"weight": "unstructured", "channel": "structured"}
CASES = [
    (name, METHODS[granularity])
    for name in params.plugins("pruning.criteria")
    for granularity in params.plugin("pruning.criteria", name).GRANULARITIES
]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_every_criterion_scores_each_unit_alike_twice_and_leaves_the_model_alone(name, method):
    model = vgg()
    before = state(model)
    first, second = (scored(model, method, name) for _ in range(2))
    for layer, module in in_scope(model, method, "all").items():
        shape = module.weight.shape if method == "unstructured" else module.weight.shape[:1]
        assert first[layer].shape == shape
        assert (first[layer] >= 0).all()
        assert first[layer].isfinite().all()
        assert not first[layer].requires_grad
        assert torch.equal(first[layer], second[layer])
    assert same(before, model.state_dict())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("name", "method"), CASES)
def test_every_criterion_refuses_weights_that_are_not_finite(name, method):
    model = vgg()
    with torch.no_grad():
        model.features[4].weight[0] = float("nan")
    with pytest.raises(UserError, match=r"features\.4: a weight is not finite"):
        scored(model, method, name)


@pytest.mark.parametrize(
    ("method", "name", "layer", "cause"),
    [
        ("unstructured", "taylor", r"features\.0", "the loss of training images that overflows, or what the crit"),
        ("structured", "l2_channel", r"classifier\.3", "what the criterion makes"),
    ],
)
def test_scores_that_are_not_finite_are_told_with_layer_criterion_and_cause(method, name, layer, cause):
    model = vgg()
    with torch.no_grad():
        model.classifier[3].weight.mul_(1e38)  # finite, and so large that no answer is
    with pytest.raises(UserError, match=f"^{layer}: a {name} score is not finite; its weights are, so it is {cause}"):
        scored(model, method, name)


def subject(weight, granularity, **more):
    return LayerView("layer", torch.tensor(weight), granularity, **more)


def test_bn_scale_is_that_of_the_norm_behind_and_the_length_where_there_is_none():
    bn_scale = params.plugin("pruning.criteria", "bn_scale")
    weight = [[3.0, -4.0], [0.0, 1.0]]
    assert bn_scale.scores(subject(weight, "channel", norm_scale=torch.tensor([0.5, -2.0]))).tolist() == [0.5, 2.0]
    assert bn_scale.scores(subject(weight, "channel")).tolist() == [5.0, 1.0]


def test_every_layer_is_scored_by_its_own_batch_norm():
    model = vgg()
    found = scored(model, "structured", "bn_scale")
    assert torch.equal(found["features.4"], model.features[5].weight.detach().abs())
    assert torch.equal(found["classifier.0"], model.classifier[0].weight.detach().norm(dim=1))


def test_taylor_multiplies_weight_and_gradient_and_sums_a_filter_before_the_absolute_value():
    taylor = params.plugin("pruning.criteria", "taylor")
    weight, gradient = [[1.0, 2.0], [3.0, -1.0]], torch.tensor([[2.0, -3.0], [0.5, 0.0]])
    single = taylor.scores(subject(weight, "weight", gradient=gradient))
    assert single.tolist() == [[2.0, 6.0], [1.5, 0.0]]
    assert taylor.scores(subject(weight, "channel", gradient=gradient)).tolist() == [4.0, 1.5]


def test_taylor_averages_batches_after_the_absolute_value(monkeypatch):
    model, name = vgg(), "classifier.6"
    gradient = torch.ones_like(model.classifier[6].weight)
    monkeypatch.setattr(masks, "batch_gradients", lambda *_: iter([{name: gradient}, {name: -gradient}]))
    assert torch.equal(scored(model, "unstructured", "taylor", [name])[name], model.classifier[6].weight.abs())


def test_a_short_last_batch_does_not_weigh_as_much_as_the_others():
    model, seen = vgg(), []
    model.register_forward_hook(lambda module, given, answers: seen.append(len(answers)))
    scoring = settings("structured").scoring.model_copy(update={"batch_size": 6})
    masks.scored(model, "structured", "taylor", ["features.0"], FIT, scoring, view=VIEW, seed=0)
    assert seen == [8]  # of 6 and 2 images


def test_random_differs_by_seed_and_layer():
    one, other = (scored(vgg(), "structured", "random", seed=seed) for seed in (1, 2))
    assert not torch.equal(one["features.0"], other["features.0"])
    assert not torch.equal(one["classifier.0"], one["classifier.3"])
