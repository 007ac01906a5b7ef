"""Grad-CAM against its two equations written out, and the model left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepcompress.data.batches import Batches
from deepcompress.data.store import Arrays
from deepcompress.explain import gradcam
from deepcompress.models.spec import deepest_blocks, layer_name
from deepcompress.models.vgg import tap
from tests import nets
from tests.explain.conftest import VIEW


def by_equations(model, batch, role: str) -> torch.Tensor:
    """Selvaraju et al., equations 1 and 2, one image after the other, at the layer's own size."""
    maps_of_images = []
    for image, label in zip(batch.images, batch.labels, strict=True):
        with tap(model, [layer_name(model.spec, role)]) as layers:
            logits = model(image[None])
        maps = next(iter(layers.values()))
        (gradient,) = torch.autograd.grad(logits[0, label], maps)
        maps_of_images.append((gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(1).relu()[0])
    return torch.stack(maps_of_images).detach()


@pytest.mark.parametrize("role", ["block3", "block4"])
def test_maps_are_those_of_the_paper_s_equations(network, arrays, role: str) -> None:
    whole = Batches(arrays, VIEW, batch_size=10)
    expected = by_equations(network, next(whole.epoch()), role)
    maps = gradcam.maps(network, whole, role)
    side = expected.shape[-1]
    large = torch.nn.functional.interpolate(expected[:, None], size=(32, 32), mode="bilinear")[:, 0]
    top = large.amax(dim=(1, 2), keepdim=True)
    live = expected.amax(dim=(1, 2)) > 1e-4
    assert side == (8 if role == "block3" else 4)
    assert live.sum() >= 3
    low = expected.amin(dim=(1, 2))[:, None, None]
    scaled = (large - low) / (top - low)
    torch.testing.assert_close(torch.from_numpy(maps)[live], scaled[live], atol=0.02, rtol=0)


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
def test_maps_of_torchvision_s_networks_are_those_of_the_equations(arch: str) -> None:
    model, data = nets.network(arch), nets.batches(images=4, batch_size=4)
    ours = gradcam.maps(model, data, deepest_blocks(nets.SIDE)[1])
    assert ours.shape == (4, nets.SIDE, nets.SIDE)
    name = {"resnet18": "layer2", "mobilenet_v2": "features.6"}[arch]
    expected = by_equations(model, next(data.epoch(0)), name)
    for map_, small in zip(ours, expected, strict=True):
        assert (map_.max() > 0) == bool(small.max() > 0)
        if map_.max() > 0:
            large = torch.nn.functional.interpolate(small[None, None], (nets.SIDE, nets.SIDE), mode="bilinear")[0, 0]
            assert torch.corrcoef(torch.stack([torch.tensor(map_).flatten(), large.flatten()]))[0, 1] > 0.98


def test_maps_lie_between_0_and_1_in_the_order_of_the_arrays(network, arrays) -> None:
    ordered = gradcam.maps(network, Batches(arrays, VIEW, batch_size=3), "block3")
    shuffled = gradcam.maps(network, Batches(arrays, VIEW, batch_size=4, seed=1), "block3")
    assert ordered.shape == (10, 32, 32)
    assert ordered.min() >= 0
    assert ordered.max() <= 1
    np.testing.assert_allclose(ordered, shuffled, atol=1e-3)


def test_the_model_is_left_as_it_was(network, batches) -> None:
    network.requires_grad_(False)
    network.classifier.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gradcam.maps(network, batches, "block4")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in network.parameters())
    assert network.classifier.training
    assert not network.features.training
    assert not any(module._forward_hooks for module in network.modules())


def test_a_label_without_a_logit_is_an_error_and_not_an_empty_map(network, arrays) -> None:
    broken = Batches(Arrays(arrays.images, arrays.labels + 7), VIEW, batch_size=4)
    with pytest.raises(IndexError):
        gradcam.maps(network, broken, "block4")
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_the_share_inside_a_mask_by_hand() -> None:
    maps = np.array([[[1.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    masks = np.array([[[False, True], [False, True]]] * 2)
    np.testing.assert_array_equal(gradcam.inside(maps, masks), [0.75, np.nan])
