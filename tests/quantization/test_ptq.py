"""Rounding a whole model: each search lessens what it looks at, and zeros survive."""

from __future__ import annotations

import pytest
import torch

from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import ptq
from deepcompress.quantization.assign import assign


def relative_error(ours: torch.Tensor, true: torch.Tensor) -> float:
    return float((ours - true).norm() / true.norm())


def test_the_search_on_outputs_answers_closer_to_the_model_than_the_others(network, make_batches) -> None:
    batches, true = make_batches(200, 50), network()
    formats = assign(true, "int4")
    before, _ = accuracy.logits(true, batches)
    shrinks = {
        "none": None,
        "weight_error": ptq.by_weight_error(true, formats),
        "output_error": ptq.by_output_error(true, formats, batches, inputs=300, seed=0),
    }
    error = {}
    for name, shrink in shrinks.items():
        model = network()
        ptq.round_(model, formats, shrink)
        error[name] = relative_error(accuracy.logits(model, batches)[0], before)
    assert error["output_error"] < 0.8 * min(error["none"], error["weight_error"])


def test_the_search_on_weights_errs_least_on_weights(network) -> None:
    errors = []
    for search in (None, ptq.by_weight_error):
        model = network()
        formats = assign(model, "int3")
        true = [layer.weight.detach().clone() for layer in prunable_layers(model).values()]
        ptq.round_(model, formats, search(model, formats) if search else None)
        after = [layer.weight.detach() for layer in prunable_layers(model).values()]
        errors.append(sum(float((a - b).square().sum()) for a, b in zip(after, true, strict=True)))
    assert errors[1] < errors[0]


def test_a_search_changes_neither_the_model_nor_its_mode(network, make_batches) -> None:
    model = network().train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    formats = assign(model, "int4", group_size=8)
    ptq.by_weight_error(model, formats)
    ptq.by_output_error(model, formats, make_batches(), inputs=20, seed=0)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training


@pytest.mark.parametrize("name", ["fp16", "int8", "int4", "int2"])
def test_what_is_pruned_stays_zero(name: str, network, make_batches) -> None:
    model = network(sparsity=0.5)
    zero = {key: tensor == 0 for key, tensor in model.state_dict().items()}
    formats = assign(model, name, group_size=16)
    ptq.round_(model, formats, ptq.by_output_error(model, formats, make_batches(), inputs=50, seed=0))
    assert all((tensor[zero[key]] == 0).all() for key, tensor in model.state_dict().items())


def test_at_8_bits_the_zeros_are_the_mask_and_no_more(network) -> None:
    model = network(sparsity=0.5)
    masks = {name: layer.weight.detach() != 0 for name, layer in prunable_layers(model).items()}
    assert all(0.4 < mask.double().mean() < 0.6 for mask in masks.values())
    ptq.round_(model, assign(model, "int8"), None)
    for name, layer in prunable_layers(model).items():
        assert torch.equal(layer.weight != 0, masks[name])


def test_biases_and_batch_norms_are_left_alone(network) -> None:
    model, before = network(), network().state_dict()
    ptq.round_(model, assign(model, "int2"), None)
    weights = {f"{name}.weight" for name in prunable_layers(model)}
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in weights)


def test_formats_may_differ_from_layer_to_layer(network, make_batches) -> None:
    model = network()
    formats = assign(model, "int4", first_bits=16, last_bits=8)
    shrinks = ptq.by_output_error(model, formats, make_batches(), inputs=20, seed=0)
    scales = ptq.round_(model, formats, shrinks)
    assert shrinks["features.0"] is scales["features.0"] is None
    assert scales["classifier.6"].shape == (4, 1)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_weight_that_is_not_finite_is_named(bad: float, network, make_batches) -> None:
    model = network()
    model.classifier[3].weight.data[0, 0] = bad
    formats = assign(model, "int4")
    for use in (
        lambda: ptq.by_weight_error(model, formats),
        lambda: ptq.by_output_error(model, formats, make_batches(), inputs=5, seed=0),
        lambda: ptq.round_(model, formats),
    ):
        with pytest.raises(UserError, match=r"the weight of classifier.3 holds NaN or infinity"):
            use()
