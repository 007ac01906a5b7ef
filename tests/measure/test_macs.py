"""Multiply-accumulates and parameters: worked by hand, against torch's own count, and without a trace."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from deepcompress.measure.macs import layer_macs, parameters
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG, prunable_layers

SPEC = VGGSpec("vgg11", True, (2, 3, 4, 4, 5, 5, 6, 6), (8, 7), 3, image_size=64, dropout=0.5)


@pytest.fixture
def model() -> VGG:
    torch.manual_seed(0)
    return VGG(SPEC)


def test_macs_worked_by_hand(model: VGG) -> None:
    macs = layer_macs(model)
    assert list(macs) == list(prunable_layers(model))
    assert macs["features.0"] == 64 * 64 * 2 * 3 * 9
    assert macs["features.4"] == 32 * 32 * 3 * 2 * 9
    assert macs["features.25"] == 4 * 4 * 6 * 6 * 9
    assert macs["classifier.0"] == 6 * 2 * 2 * 8
    assert macs["classifier.6"] == 7 * 3


def test_macs_are_half_of_torchs_own_flops(model: VGG) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, 64, 64))
    assert 2 * sum(layer_macs(model).values()) == counter.get_total_flops()


def test_counting_leaves_the_model_as_it_was(model: VGG) -> None:
    model.features[0].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layer_macs(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training
    assert not model.features[0].training
    assert not any(module._forward_hooks for module in model.modules())


def test_parameters_worked_by_hand(model: VGG) -> None:
    convolutions = 9 * (3 * 2 + 2 * 3 + 3 * 4 + 4 * 4 + 4 * 5 + 5 * 5 + 5 * 6 + 6 * 6)
    weights = convolutions + 24 * 8 + 8 * 7 + 7 * 3
    channels = sum(SPEC.features)
    total = weights + channels + 18 + 2 * channels  # biases, and the batch norms' two vectors
    with torch.no_grad():
        model.classifier[6].weight[0, :2] = 0
    assert parameters(model) == {"total": total, "weights": weights, "nonzero": weights - 2}
