"""Taps give what the layers gave, keep gradients, and leave no trace."""

from __future__ import annotations

import pytest
import torch

from deepcompress.errors import UserError
from deepcompress.models.taps import outputs_of, tap
from deepcompress.models.vgg import VGG

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_tap_gives_the_output_of_its_layer(tiny: VGG) -> None:
    tiny.eval()
    with tap(tiny, ["features.0", "features", "classifier.3"]) as outputs:
        assert outputs == {}
        tiny(IMAGES)
    assert set(outputs) == {"features.0", "features", "classifier.3"}
    assert torch.equal(outputs["features.0"], tiny.features[0](IMAGES))  # the ReLU behind it changed nothing
    assert torch.equal(outputs["features"], tiny.features(IMAGES))
    assert outputs["classifier.3"].shape == (2, 7)


def test_gradients_flow_through_a_tap(tiny: VGG) -> None:
    with tap(tiny, ["features.0"]) as outputs:
        tiny(IMAGES)
    outputs["features.0"].sum().backward()
    assert tiny.features[0].weight.grad is not None


def test_a_tap_holds_the_last_pass_and_changes_no_output(tiny: VGG) -> None:
    tiny.eval()
    alone = tiny(IMAGES)
    with tap(tiny, ["classifier.6"]) as outputs:
        tiny(torch.zeros_like(IMAGES))
        assert torch.equal(tiny(IMAGES), alone)
    assert torch.equal(outputs["classifier.6"], alone)


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
