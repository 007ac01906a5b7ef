"""Taps give what the layers gave and leave no trace; roles name the same part of VGGs of any depth."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepcompress.errors import UserError
from deepcompress.models import taps
from deepcompress.models.spec import BLOCKS
from deepcompress.models.taps import outputs_of, tap
from deepcompress.models.vgg import VGG
from tests.explain.conftest import make_spec

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_tap_gives_the_last_outputs_of_its_layers_with_gradients_and_changes_none(tiny: VGG) -> None:
    alone = tiny.eval()(IMAGES)
    with tap(tiny, ["features.0", "features", "classifier.6"]) as outputs:
        assert outputs == {}
        tiny(torch.zeros_like(IMAGES))
        assert torch.equal(tiny(IMAGES), alone)
    assert set(outputs) == {"features.0", "features", "classifier.6"}
    assert torch.equal(outputs["features.0"], tiny.features[0](IMAGES))  # the ReLU behind it changed nothing
    assert torch.equal(outputs["features"], tiny.features(IMAGES))
    assert torch.equal(outputs["classifier.6"], alone)
    outputs["features.0"].sum().backward()
    assert tiny.features[0].weight.grad is not None


def test_hooks_go_even_after_an_error(tiny: VGG) -> None:
    with pytest.raises(RuntimeError, match="stop"), tap(tiny, ["features.0", "features.1"]):
        raise RuntimeError("stop")
    assert not any(module._forward_hooks for module in tiny.modules())


def test_what_lies_behind_the_last_layer_does_not_run(tiny: VGG) -> None:
    ran = []
    for name in ("features", "classifier.0", "classifier.3"):
        tiny.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    with tap(tiny.eval(), ["features.0", "classifier.0"]) as expected:
        tiny(IMAGES)
    ran.clear()
    outputs = outputs_of(tiny, ["classifier.0", "features.0"], IMAGES)
    assert ran == ["features", "classifier.0"]
    assert all(torch.equal(outputs[name], expected[name]) for name in ("features.0", "classifier.0"))
    assert not tiny.features[0]._forward_hooks


@pytest.mark.parametrize("name", ["features.99", "", "Features.0"])
def test_an_unknown_layer_is_named_with_those_there_are(tiny: VGG, name: str) -> None:
    line = f"layer '{name}' does not exist; there are features.0, "
    with pytest.raises(UserError, match=line), tap(tiny, ["features.0", name]):
        pass
    assert not any(module._forward_hooks for module in tiny.modules())


@pytest.mark.parametrize("arch", BLOCKS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_role_is_a_layer_of_its_kind_in_forward_order(arch: str, batch_norm: bool) -> None:
    spec = make_spec(arch, batch_norm=batch_norm)
    model, kinds = VGG(spec), {"conv": nn.Conv2d, "norm": nn.BatchNorm2d, "relu": nn.ReLU, "pool": nn.MaxPool2d}
    found = taps.roles(spec)
    for role, name in found.items():
        kind = role.partition(".")[2][:4] or "relu"
        assert isinstance(model.get_submodule(name), kinds[kind]), role
    assert len(set(found.values())) == len(model.features)


def test_a_block_alone_is_its_last_relu() -> None:
    spec = make_spec("vgg16")
    assert taps.layer(spec, "block3") == taps.layer(spec, "block3.relu3")


@pytest.mark.parametrize("role", ["block6", "block1.conv2", "features.99", "block4.norm1", "classifier.0"])
def test_an_unknown_role_lists_what_there_is(role: str) -> None:
    with pytest.raises(UserError, match=r"does not exist in a vgg11; there are block1.conv1 \(features.0\), block1"):
        taps.layer(make_spec("vgg11", batch_norm=False), role)


@pytest.mark.parametrize(("size", "expected"), [(32, ("block3", "block4")), (224, ("block4", "block5"))])
def test_maps_to_compare_have_four_by_four_places_or_more(size: int, expected: tuple[str, ...]) -> None:
    assert taps.deepest_blocks(size) == expected


@pytest.mark.parametrize("arch", ["vgg11", "vgg19"])
def test_the_stated_side_is_the_map_s(arch: str) -> None:
    spec = make_spec(arch, image_size=64)
    layers = {block: taps.layer(spec, f"block{block}") for block in range(1, 6)}
    model = VGG(spec).eval()
    with torch.no_grad(), tap(model, layers.values()) as seen:
        model(torch.zeros(1, 3, 64, 64))
    assert all(seen[name].shape[-1] == taps.side(64, block) for block, name in layers.items())
