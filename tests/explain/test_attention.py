"""Grad-CAM against its two equations written out, and similarities of maps against known values."""

import numpy as np
import pytest
import torch

from deepcompress.data.batches import Batches
from deepcompress.data.store import Arrays
from deepcompress.explain import attention
from deepcompress.models.spec import layer_name
from deepcompress.models.vgg import tap
from tests import nets
from tests.nets import VIEW


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


@pytest.mark.parametrize(
    ("arch", "role", "side"),
    [("vgg11", "block3", 8), ("vgg11", "block4", 4), ("resnet18", "block4", 4), ("mobilenet_v2", "block4", 4)],
)
def test_maps_are_those_of_the_paper_s_equations(arch: str, role: str, side: int) -> None:
    model, data = nets.vgg() if arch == "vgg11" else nets.network(arch), nets.batches(10, 10)
    expected = by_equations(model, next(data.epoch()), role)
    maps = torch.from_numpy(attention.maps(model, data, role))
    large = torch.nn.functional.interpolate(expected[:, None], size=(32, 32), mode="bilinear")[:, 0]
    low, top = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    live = top.flatten() > top.max() / 10  # others may be rounding errors alone
    assert expected.shape[-1] == side
    assert not maps[top.flatten() == 0].any()
    assert live.sum() >= 3
    torch.testing.assert_close(maps[live], ((large - low) / (top - low))[live], atol=1e-4, rtol=0)


def test_maps_lie_between_0_and_1_in_the_order_of_the_arrays() -> None:
    network, arrays = nets.vgg(), nets.arrays(10)
    ordered = attention.maps(network, Batches(arrays, VIEW, batch_size=3), "block3")
    shuffled = attention.maps(network, Batches(arrays, VIEW, batch_size=4, seed=1), "block3")
    assert ordered.shape == (10, 32, 32)
    assert ordered.min() >= 0
    assert ordered.max() <= 1
    np.testing.assert_allclose(ordered, shuffled, atol=1e-3)


def test_the_model_is_left_as_it_was() -> None:
    network = nets.vgg()
    network.requires_grad_(False)
    network.classifier.train()
    before = nets.state(network)
    attention.maps(network, nets.batches(), "block4")
    assert nets.same(before, network.state_dict())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in network.parameters())
    assert network.classifier.training
    assert not network.features.training
    assert not any(module._forward_hooks for module in network.modules())


def test_a_label_without_a_logit_is_an_error_and_not_an_empty_map() -> None:
    network, arrays = nets.vgg(), nets.arrays(10)
    broken = Batches(Arrays(arrays.images, arrays.labels + 7), VIEW, batch_size=4)
    with pytest.raises(IndexError):
        attention.maps(network, broken, "block4")
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


def test_the_share_inside_a_mask_by_hand() -> None:
    maps = np.array([[[1.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    masks = np.array([[[False, True], [False, True]]] * 2)
    np.testing.assert_array_equal(attention.inside(maps, masks), [0.75, np.nan])


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).random((5, 16, 16)).astype(np.float32)


def test_ssim_of_all_images_is_that_of_scikit_image_one_by_one(maps: np.ndarray) -> None:
    from skimage.metrics import structural_similarity

    other = np.sqrt(maps) * np.linspace(0, 1, 16, dtype=np.float32)
    for window in (3, 7, 15):
        expected = [
            structural_similarity(*pair, win_size=window, data_range=1.0) for pair in zip(maps, other, strict=True)
        ]
        np.testing.assert_allclose(attention.ssim(maps, other, window=window), expected, rtol=1e-12)


def test_cosine_is_that_worked_by_hand_and_of_ranks_the_correlation_of_pandas(maps: np.ndarray) -> None:
    import pandas as pd

    first, second = np.array([[[1.0, 0.0], [0.0, 0.0]]]), np.array([[[3.0, 4.0], [0.0, 0.0]]])
    assert attention.cosine(first, second)[0] == pytest.approx(0.6)
    tied = np.round(maps, 1)
    ranked = [pd.Series(a.ravel()).rank().corr(pd.Series(b.ravel()).rank()) for a, b in zip(tied, maps, strict=True)]
    np.testing.assert_allclose(attention.cosine(*map(attention.ranks, (tied, maps))), ranked)


def test_the_null_compares_with_the_map_of_the_next_image(maps: np.ndarray) -> None:
    values = attention.ssim_to_next(maps, maps, window=7)
    assert values[0] == pytest.approx(attention.ssim(maps[:1], maps[1:2], window=7)[0])
    assert values[-1] == pytest.approx(attention.ssim(maps[-1:], maps[:1], window=7)[0])
    assert values.max() < 0.5


def test_a_map_with_nothing_in_it_is_left_out(maps: np.ndarray) -> None:
    other = maps.copy()
    other[2] = 0
    for values in (
        attention.cosine(maps, other),
        attention.cosine(attention.ranks(maps), attention.ranks(other)),
        attention.ssim(maps, other, window=7),
    ):
        assert np.isnan(values).tolist() == [False, False, True, False, False]
        assert attention.mean(values).n == 4


def test_the_interval_of_a_mean_by_hand() -> None:
    mean = attention.mean(np.array([1.0, 2.0, 3.0, np.nan]))
    reach = 1.96 / np.sqrt(3)
    assert (mean.value, mean.n) == (2.0, 3)
    assert (mean.low, mean.high) == pytest.approx((2 - reach, 2 + reach))
    assert np.isnan(attention.mean(np.array([1.0])).value)  # of one image
