"""Batch norms and biases in 16 bits: the same answers, in numbers that float16 holds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG
from deepcompress.quantization.vectors import _unit_variance, round_vectors_
from tests import nets


def vgg() -> VGG:
    torch.manual_seed(0)
    return VGG(VGGSpec("vgg11", True, (4, 8, 8, 8, 8, 8, 8, 8), (16, 16), 3, 32, 0.5))


@pytest.mark.parametrize("make", [vgg, lambda: nets.network("resnet18"), lambda: nets.network("densenet121")])
def test_answers_stay_within_what_float16_rounds(make) -> None:
    model = make().eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
        elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.normal_(layer.bias, 0, 0.3)
    images = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        before = model(images)
    round_vectors_(model)
    with torch.inference_mode():
        assert torch.linalg.vector_norm(model(images) - before) < 0.02 * torch.linalg.vector_norm(before)
    for parameter in model.parameters():
        assert parameter.dim() != 1 or torch.equal(parameter, parameter.half().float())
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert not any(norm.running_mean.any() for norm in norms)
    assert all((norm.running_var + norm.eps == 1).all() for norm in norms)


def test_what_is_too_large_becomes_the_largest() -> None:
    layer = nn.Linear(1, 2)
    layer.bias.data = torch.tensor([1e9, -1e-9])
    round_vectors_(layer)
    assert layer.bias.tolist() == [65504.0, 0.0]


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_a_unit_variance_adds_up_to_one(eps: float) -> None:
    assert torch.tensor(_unit_variance(eps)) + eps == 1
