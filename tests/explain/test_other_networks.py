"""Grad-CAM of torchvision's networks, by the same names of layers as for a VGG."""

from __future__ import annotations

import pytest
import torch

from deepcompress.explain import gradcam
from deepcompress.explain.tables import default_roles
from tests.nets import SIDE, batches, network


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
def test_maps_are_those_of_the_formula(arch: str) -> None:
    model, data = network(arch), batches(images=4, batch_size=4)
    role = default_roles(SIDE)[1]
    ours = gradcam.maps(model, data, role)
    assert ours.shape == (4, SIDE, SIDE)
    batch, kept = next(data.epoch(0)), {}
    name = {"resnet18": "layer2", "mobilenet_v2": "features.6"}[arch]
    hook = model.get_submodule(name).register_forward_hook(lambda _, __, output: kept.update(maps=output))
    logits = model(batch.images)
    hook.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, batch.labels[:, None]).sum(), kept["maps"])
    plain = (gradient.mean((2, 3), keepdim=True) * kept["maps"]).sum(1).relu().detach()
    for one, other in zip(ours, plain, strict=True):
        assert (one.max() > 0) == bool(other.max() > 0)
        if one.max() > 0:
            large = torch.nn.functional.interpolate(other[None, None], (SIDE, SIDE), mode="bilinear")[0, 0]
            assert torch.corrcoef(torch.stack([torch.tensor(one).flatten(), large.flatten()]))[0, 1] > 0.98
