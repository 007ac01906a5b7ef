"""Rounding a whole model: by its outputs it answers closer to the model, zeros survive, files hold what it computes."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch

from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import gptq, ptq
from deepcompress.quantization.quantize import assign
from tests import nets
from tests.quantization.conftest import round_


@pytest.mark.parametrize(("arch", "bits"), [("vgg11", 4), ("resnet18", 3)])
def test_what_looks_at_outputs_answers_closer_to_the_model(
    arch: str, bits: int, network, make_batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gptq, "LONGEST_ROW", 1000)  # longer ones take seconds each
    make: Callable = network if arch == "vgg11" else lambda: nets.network(arch)
    batches = make_batches(200, 50) if arch == "vgg11" else nets.batches(images=16, batch_size=8)
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
    network, make_batches, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, batches = network(), make_batches(100, 50)
    formats = assign(model, "int3")
    arguments = {"inputs": 400, "seed": 0, "rounding": "auto"}
    with caplog.at_level(logging.INFO):
        ptq.from_images(model, formats, batches, **arguments)
        monkeypatch.setattr(gptq, "solve", lambda weights, scales, *_: (torch.ones_like(weights).char(), scales))
        spoilt = ptq.from_images(model, formats, batches, **arguments)
    took = [int(line.split("gptq in ")[1].split()[0]) for line in caplog.messages if "quant.rounding" in line]
    assert took[0] > 5
    assert took[1] == 0
    assert all(len(weight.codes.unique()) > 1 for weight in spoilt.values())


def test_a_row_too_long_for_its_second_moment_is_rounded_to_nearest(network, make_batches, monkeypatch) -> None:
    model, batches = network(), make_batches()
    formats = assign(model, "int3")
    monkeypatch.setattr(gptq, "LONGEST_ROW", 1)
    long, nearest = (
        ptq.from_images(model, formats, batches, inputs=20, seed=0, rounding=rounding)
        for rounding in ("gptq", "nearest")
    )
    assert all(torch.equal(long[name].codes, nearest[name].codes) for name in formats)


def test_the_same_seed_gives_the_same_integers_and_neither_model_nor_mode_changes(network, make_batches) -> None:
    model = network().train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    formats = assign(model, "int4", group_size=8)
    once, twice = (
        ptq.from_images(model, formats, make_batches(), inputs=20, seed=0, rounding="auto") for _ in range(2)
    )
    assert all(
        torch.equal(once[n].codes, twice[n].codes) and torch.equal(once[n].scales, twice[n].scales) for n in once
    )
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training


@pytest.mark.parametrize("name", ["fp16", "int8", "int4", "int2"])
def test_what_is_pruned_stays_zero_and_what_is_no_weight_stays(name: str, network, make_batches) -> None:
    model, before = network(sparsity=0.5), network(sparsity=0.5).state_dict()
    formats = assign(model, name, group_size=16)
    rounding = "nearest" if name == "int8" else "gptq"
    ptq.assign_(model, ptq.from_images(model, formats, make_batches(), inputs=50, seed=0, rounding=rounding))
    weights = {f"{layer}.weight" for layer in prunable_layers(model)}
    for key, tensor in model.state_dict().items():
        assert (tensor[before[key] == 0] == 0).all()
        assert torch.equal(tensor, before[key]) == (key not in weights)
        assert name != "int8" or torch.equal(tensor == 0, before[key] == 0)


def test_the_clip_ratio_of_a_quantized_weight_gives_its_scales_back(network) -> None:
    model = network()
    for name, form in assign(model, "int3", group_size=16).items():
        weight = prunable_layers(model)[name].weight.detach()
        ratio = torch.rand(len(weight), form.groups(weight), generator=torch.Generator().manual_seed(0)) + 0.1
        quantized = form.quantize(weight, ratio)
        assert torch.equal(form.quantize(weight, ptq.clip_ratio(weight, quantized)).scales, quantized.scales)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_weight_that_is_not_finite_is_named(bad: float, network, make_batches) -> None:
    model = network()
    model.classifier[3].weight.data[0, 0] = bad
    formats = assign(model, "int4")
    for use in (
        lambda: round_(model, formats),
        lambda: ptq.from_images(model, formats, make_batches(), inputs=5, seed=0),
    ):
        with pytest.raises(UserError, match=r"the weight of classifier.3 holds NaN or infinity"):
            use()


def test_inputs_that_are_not_finite_end_in_one_line(network, make_batches) -> None:
    model = network()
    model.features[1].bias.data[0] = torch.inf
    formats = assign(model, "int4")
    with pytest.raises(UserError, match=r"what features.4 sees for the calibration images holds NaN or infinity"):
        ptq.from_images(model, formats, make_batches(), inputs=5, seed=0, rounding="gptq")
