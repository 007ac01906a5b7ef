"""Logits in the order of the images, and the numbers that follow from them, of one network or of two."""

import math

import pytest
import torch
from torch import nn

from deepcompress.measure.accuracy import evaluating, expected_calibration_error, logits, top_k_correct
from tests.nets import arrays, batches, same, state


def network() -> nn.Module:
    """With layers that behave otherwise in training, one of which is frozen in evaluation mode."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
    model.train()
    model[1].eval()
    return model


@pytest.mark.parametrize("seed", [None, 7])
def test_rows_lie_as_in_the_arrays_whatever_the_order_of_the_batches(seed: int | None) -> None:
    model, images = network(), arrays(10, side=4)
    answers, labels = logits(model, batches(10, 4, side=4, seed=seed))
    pixels = torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255
    with evaluating(model), torch.no_grad():
        torch.testing.assert_close(answers, model((pixels - 0.5) / 0.25))
    assert labels.tolist() == images.labels.tolist()


def test_modules_keep_their_modes_and_statistics() -> None:
    model = network()
    before = state(model)
    logits(model, batches(10, 4, side=4))
    assert [module.training for module in model] == [True, False, True, True, True]
    assert model.training
    assert same(before, model.state_dict())


def test_modes_come_back_after_an_error() -> None:
    model = network()
    with pytest.raises(RuntimeError, match="size"), evaluating(model):
        model(torch.zeros(1, 1, 4, 4))
    assert [module.training for module in model] == [True, False, True, True, True]


def test_logits_can_be_a_target_in_training() -> None:
    answers, _ = logits(network(), batches(4, 4, side=4))
    weight = torch.ones(3, requires_grad=True)
    (answers * weight).sum().backward()
    assert answers.dtype == torch.float32
    assert not answers.requires_grad


def test_no_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="no images"):
        logits(network(), batches(0, 4, side=4))


def test_top_k_agrees_with_topk_where_no_logits_are_equal() -> None:
    torch.manual_seed(0)
    answers, labels = torch.randn(200, 12), torch.randint(12, (200,))
    for k in (1, 5, 12):
        expected = (answers.topk(k).indices == labels[:, None]).any(1)
        assert torch.equal(top_k_correct(answers, labels, k), expected)


def test_a_network_that_answers_nothing_scores_chance_and_a_diverged_one_nothing() -> None:
    labels = torch.arange(20)
    assert top_k_correct(torch.zeros(20, 20), labels, 1).sum() == 1
    assert top_k_correct(torch.zeros(20, 20), labels, 5).sum() == 5
    assert not top_k_correct(torch.full((20, 20), math.nan), labels, 5).any()


def test_calibration_error_is_that_of_the_plain_loop_over_bins() -> None:
    torch.manual_seed(1)
    answers, labels = 2 * torch.randn(300, 6, dtype=torch.float64), torch.randint(6, (300,))
    confidence, right = answers.softmax(1).amax(1), top_k_correct(answers, labels, 1)
    expected = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            gap = right[inside].double().mean() - confidence[inside].mean()
            expected += inside.double().mean().item() * abs(gap.item())
    assert expected_calibration_error(answers, labels) == pytest.approx(expected)
