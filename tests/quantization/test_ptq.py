"""Rounding a whole model: by its outputs it answers closer to the model, zeros survive, files hold what it computes."""

import logging
from collections.abc import Callable

import pytest
import torch
from torch import nn

from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.models.vgg import prunable_layers, tap
from deepcompress.quantization import ptq, solvers
from deepcompress.quantization.quantize import assign
from tests import nets
from tests.quantization.conftest import network, round_


@pytest.mark.parametrize(("arch", "bits"), [("vgg11", 4), ("resnet18", 3)])
def test_what_looks_at_outputs_answers_closer_to_the_model(
    arch: str, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solvers, "LONGEST_ROW", 1000)  # longer ones take seconds each
    make: Callable = network if arch == "vgg11" else lambda: nets.network(arch)
    batches = nets.batches(200, 50) if arch == "vgg11" else nets.batches(images=16, batch_size=8)
    model = make()
    formats = assign(model, f"int{bits}")
    before, _ = accuracy.logits(model, batches)
    together, nearest, *others = (
        error_of(make(), quantized, batches, before)
        for quantized in (
            ptq.from_images(model, formats, batches, inputs=300, seed=0, rounding="gptq"),
            ptq.from_images(model, formats, batches, inputs=300, seed=0),
            ptq.without_images(model, formats),
            ptq.without_images(model, formats, "weight_error"),
        )
    )
    assert nearest < 0.8 * min(others)
    assert together < 0.9 * nearest


def error_of(model, quantized, batches, before: torch.Tensor) -> float:
    ptq.assign_(model, quantized)
    return float((accuracy.logits(model, batches)[0] - before).norm())


def test_auto_takes_gptq_where_it_helps_on_inputs_that_it_has_not_seen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, batches = network(), nets.batches(100, 50)
    formats = assign(model, "int3")
    arguments = {"inputs": 400, "seed": 0, "rounding": "auto"}
    with caplog.at_level(logging.INFO):
        ptq.from_images(model, formats, batches, **arguments)
        monkeypatch.setattr(solvers, "gptq", lambda weights, scales, *_: (torch.ones_like(weights).char(), scales))
        spoilt = ptq.from_images(model, formats, batches, **arguments)
    took = [int(line.split("gptq in ")[1].split()[0]) for line in caplog.messages if "quant.rounding" in line]
    assert took[0] > 5
    assert took[1] == 0
    assert all(len(weight.codes.unique()) > 1 for weight in spoilt.values())


def test_a_row_too_long_for_its_second_moment_is_rounded_to_nearest(monkeypatch) -> None:
    model, batches = network(), nets.batches(24, 10)
    formats = assign(model, "int3")
    monkeypatch.setattr(solvers, "LONGEST_ROW", 1)
    long, nearest = (
        ptq.from_images(model, formats, batches, inputs=20, seed=0, rounding=rounding)
        for rounding in ("gptq", "nearest")
    )
    assert all(torch.equal(long[name].codes, nearest[name].codes) for name in formats)


def test_the_same_seed_gives_the_same_integers_and_neither_model_nor_mode_changes() -> None:
    model = network().train()
    before = nets.state(model)
    formats = assign(model, "int4", group_size=8)
    once, twice = (
        ptq.from_images(model, formats, nets.batches(24, 10), inputs=20, seed=0, rounding="auto") for _ in range(2)
    )
    assert all(
        torch.equal(once[n].codes, twice[n].codes) and torch.equal(once[n].scales, twice[n].scales) for n in once
    )
    assert nets.same(before, model.state_dict())
    assert model.training


@pytest.mark.parametrize("name", ["fp16", "int8", "int4", "int2"])
def test_what_is_pruned_stays_zero_and_what_is_no_weight_stays(name: str) -> None:
    model, before = network(sparsity=0.5), network(sparsity=0.5).state_dict()
    formats = assign(model, name, group_size=16)
    rounding = "nearest" if name == "int8" else "gptq"
    ptq.assign_(model, ptq.from_images(model, formats, nets.batches(24, 10), inputs=50, seed=0, rounding=rounding))
    weights = {f"{layer}.weight" for layer in prunable_layers(model)}
    for key, tensor in model.state_dict().items():
        assert (tensor[before[key] == 0] == 0).all()
        assert torch.equal(tensor, before[key]) == (key not in weights)
        assert name != "int8" or torch.equal(tensor == 0, before[key] == 0)


def test_the_clip_ratio_of_a_quantized_weight_gives_its_scales_back() -> None:
    model = network()
    for name, form in assign(model, "int3", group_size=16).items():
        weight = prunable_layers(model)[name].weight.detach()
        ratio = torch.rand(len(weight), form.groups(weight), generator=torch.Generator().manual_seed(0)) + 0.1
        quantized = form.quantize(weight, ratio)
        assert torch.equal(form.quantize(weight, ptq.clip_ratio(weight, quantized)).scales, quantized.scales)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_weight_that_is_not_finite_is_named(bad: float) -> None:
    model = network()
    model.classifier[3].weight.data[0, 0] = bad
    formats = assign(model, "int4")
    for use in (
        lambda: round_(model, formats),
        lambda: ptq.from_images(model, formats, nets.batches(24, 10), inputs=5, seed=0),
    ):
        with pytest.raises(UserError, match=r"the weight of classifier.3 holds NaN or infinity"):
            use()


def test_inputs_that_are_not_finite_end_in_one_line() -> None:
    model = network()
    model.features[1].bias.data[0] = torch.inf
    formats = assign(model, "int4")
    with pytest.raises(UserError, match=r"what features.4 sees for the calibration images holds NaN or infinity"):
        ptq.from_images(model, formats, nets.batches(24, 10), inputs=5, seed=0, rounding="gptq")


@pytest.mark.parametrize("rounding", ["nearest", "gptq", "auto"])
@pytest.mark.parametrize("power", [63, -70])
@torch.no_grad()
def test_inputs_whose_squares_float32_does_not_hold_give_the_same_integers(power: int, rounding: str) -> None:
    """A batch norm gives them, and the next one takes them back."""
    model = network()
    formats, options = assign(model, "int3", group_size=16), {"inputs": 40, "seed": 0, "rounding": rounding}
    expected = ptq.from_images(model, formats, nets.batches(24, 10), **options)
    before, layer, behind = model.features[1], model.features[4], model.features[5]
    layer.bias.zero_()
    for tensor in (before.weight, before.bias, behind.running_mean):
        tensor *= 2.0**power
    behind.running_var *= 2.0 ** (2 * power)
    found = ptq.from_images(model, formats, nets.batches(24, 10), **options)
    assert torch.equal(found["features.4"].codes, expected["features.4"].codes)
    assert torch.equal(found["features.4"].scales, expected["features.4"].scales)


# What layers see: the walk equals the model, and the drawn vectors give the layer's own outputs.


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, (3, 1), stride=2), nn.Linear(6, 4)], ids=str
)
def test_vectors_times_weights_are_the_layer_s_outputs(layer: nn.Conv2d | nn.Linear) -> None:
    value = torch.randn((2, 3, 7, 6) if isinstance(layer, nn.Conv2d) else (5, 6))
    outputs = layer(value).movedim(1, -1).flatten(0, -2)
    everywhere = torch.arange(len(outputs))
    assert sorted(ptq.places(layer, value, 10**6, torch.Generator()).tolist()) == everywhere.tolist()
    ours = ptq.vectors(layer, value, everywhere) @ layer.weight.flatten(1).T + layer.bias
    torch.testing.assert_close(ours, outputs)


@torch.no_grad()
def test_a_layer_that_is_given_its_input_by_name_is_met_like_others() -> None:
    model, quantized = nets.network("tests.odd_nets:Viewed"), {}
    for name, (floats, now) in ptq.walk(model, nets.batches(4, 2), quantized, inputs=40, seed=0):
        assert floats.shape == now.shape
        quantized[name] = prunable_layers(model)[name].weight
    assert [*quantized] == ["first", "head"]


@torch.no_grad()
@pytest.mark.parametrize("arch", ["vgg11", "mobilenet_v2"])
def test_every_layer_is_met_with_its_float_and_its_quantized_inputs(arch: str) -> None:
    model, batches = (network(), nets.batches(24, 10)) if arch == "vgg11" else (nets.network(arch), nets.batches(4, 2))
    images = torch.cat([batch.images for batch in batches.epoch(0)])
    layers, met, quantized = prunable_layers(model), {}, {}
    for name, seen in ptq.walk(model, batches, quantized, inputs=40, seed=0):
        met[name], quantized[name] = seen, layers[name].weight * 0.9
    assert set(met) == set(layers)
    assert {name for name, seen in met.items() if seen is None} == {
        name for name, layer in layers.items() if getattr(layer, "groups", 1) > 1
    }
    before, last = ("classifier.3", "classifier.6") if arch == "vgg11" else ("features", "classifier.1")

    def inputs_of_last() -> torch.Tensor:
        with tap(model, [before]) as outputs:
            model(images)
        return (outputs[before].relu() if arch == "vgg11" else outputs[before].mean((2, 3))).sort(0).values

    torch.testing.assert_close(met[last][0].sort(0).values, inputs_of_last())
    for layer in layers.values():
        layer.weight *= 0.9
    torch.testing.assert_close(met[last][1].sort(0).values, inputs_of_last())
    if arch == "vgg11":
        assert torch.equal(*met["features.0"])
        vectors = {name: 40 if name.startswith("features") else len(images) for name in layers}
        assert all(met[name][0].shape == (vectors[name], layer.weight[0].numel()) for name, layer in layers.items())
