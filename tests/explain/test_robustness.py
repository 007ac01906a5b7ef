"""Changed images by hand: other colours, seeded noise, a step whose direction is known, and the rows of both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as oracle

from deepcompress.data.augment import Jitter
from deepcompress.data.batches import Batches, View
from deepcompress.data.store import Arrays
from deepcompress.explain import robustness
from deepcompress.explain.robustness import FGSM, NOISE, jittered

JITTER = Jitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


@pytest.fixture
def pixels() -> Arrays:
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    return Arrays(images, np.arange(6))


def test_the_same_seed_gives_the_same_colours_and_the_originals_stay(pixels: Arrays) -> None:
    before = pixels.images.copy()
    first, again, other = (jittered(pixels, JITTER, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert np.array_equal(pixels.images, before)
    assert np.array_equal(first.labels, pixels.labels)
    assert all((changed != image).any() for changed, image in zip(first.images, before, strict=True))
    assert np.array_equal(jittered(pixels, Jitter(), seed=0).images, before)


def test_each_image_has_its_own_brightness_as_torchvision_changes_it(pixels: Arrays) -> None:
    same = Arrays(np.repeat(pixels.images[:1], 6, axis=0), pixels.labels)
    changed = jittered(same, Jitter(brightness=0.5), seed=0).images
    factors = [np.median(image[image < 250] / same.images[0][image < 250].clip(1)) for image in changed]
    assert len({round(factor, 2) for factor in factors}) == 6
    for image, factor in zip(changed, factors, strict=True):
        expected = oracle.adjust_brightness(torch.from_numpy(same.images[0]).permute(2, 0, 1) / 255, factor) * 255
        assert np.abs(image - expected.permute(1, 2, 0).numpy()).max() < 4


@pytest.mark.parametrize("mib", [0, 1])
def test_colours_do_not_depend_on_the_budget_nor_on_the_images_at_once(
    pixels: Arrays, project: Path, monkeypatch: pytest.MonkeyPatch, mib: int
) -> None:
    expected = jittered(pixels, JITTER, seed=0).images
    monkeypatch.setattr(robustness, "PIXELS_AT_ONCE", 4 * 8 * 8)
    changed = jittered(replace(pixels, budget_mib=mib), JITTER, seed=0)
    assert np.array_equal(changed.images, expected)
    assert changed.images.flags.owndata == (mib == 1)
    assert changed.budget_mib == mib
    assert not [path for path in project.rglob("*") if path.is_file()]


def test_colours_give_both_accuracies_with_intervals_the_drop_and_the_consistency() -> None:
    sure = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    near = torch.tensor([[0.0, -1e-9], [0.0, 1e-9], [0.0, -1e-9], [0.0, 1e-9]])
    labels = torch.tensor([0, 1, 0, 0])
    teacher, student = robustness.jitter_rows({"a": sure, "b": near}, {"a": sure.flip(1), "b": near}, labels)
    assert (teacher["top1_pct"], teacher["jittered_top1_pct"], teacher["drop_points"]) == (100.0, 0.0, 100.0)
    assert teacher["top1_pct_low"] < 100.0 == teacher["top1_pct_high"]
    assert teacher["consistency_pct"] == 0.0
    assert (student["top1_pct"], student["drop_points"], student["consistency_pct"]) == (75.0, 0.0, 100.0)
    assert -student["drop_points_low"] == student["drop_points_high"] > 0


class Linear(torch.nn.Module):
    """Two classes, of which the first has the sum of all pixels in 0..1 as its logit, less so much, times a slope."""

    def __init__(self, less: float, slope: float = 1.0) -> None:
        super().__init__()
        self.weight, self.less = torch.nn.Parameter(torch.full((3, 2, 2), 0.25 * slope)), less * slope
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images.detach())
        first = ((images + 2) * self.weight).sum((1, 2, 3)) - self.less  # normalised by 0.5 and 0.25
        return torch.stack([first, torch.zeros_like(first)], 1)


def linear_images(*levels: int, labels: tuple[int, ...]) -> Batches:
    pixels = np.stack([np.full((2, 2, 3), level, np.uint8) for level in levels])
    return Batches(Arrays(pixels, np.array(labels)), View(2, (0.5,) * 3, (0.25,) * 3), batch_size=2)


def test_the_step_of_a_linear_network_lowers_every_pixel_of_its_class_and_raises_the_other_s() -> None:
    model = Linear(6.0)
    batches = linear_images(128, 128, 0, 255, labels=(0, 1, 0, 1))
    found = robustness.logits(model, batches, FGSM, 0.1, seed=0)
    levels = [128 / 255 - 0.1, 128 / 255 + 0.1, 0.0, 1.0]  # black and white have no further to go
    assert found[:, 0].tolist() == pytest.approx([12 * level - 6 for level in levels], abs=1e-5)
    assert model.weight.grad is None
    assert model.training


def test_a_network_that_is_very_sure_has_a_step_too() -> None:
    model = Linear(0.0, slope=5.0)  # its loss is exp(-30), which a float32 beside 1 does not show
    robustness.logits(model, linear_images(128, labels=(0,)), FGSM, 0.1, seed=0)
    plain, changed = model.seen
    assert torch.allclose(plain - changed, torch.full_like(plain, 0.4), atol=1e-5)


def test_noise_is_as_strong_as_asked_for_and_the_same_for_each_model() -> None:
    pixels = np.full((64, 16, 16, 3), 128, np.uint8)
    batches = Batches(Arrays(pixels, np.zeros(64, int)), View(16, (0.5,) * 3, (0.25,) * 3), batch_size=48)
    seen = []
    for seed in (0, 0, 1):
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Identity())
        seen.append(robustness.logits(model, batches, NOISE, 0.1, seed=seed) * 0.25 + 0.5 - 128 / 255)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0][:16], seen[0][48:])  # each batch has noise of its own
    n = seen[0].numel()
    assert abs(seen[0].mean()) < 6 * 0.1 / n**0.5
    assert abs(seen[0].std() - 0.1) < 6 * 0.1 / (2 * n) ** 0.5


def test_rows_compare_the_same_images_with_and_without_a_change() -> None:
    labels = torch.tensor([0, 1, 0, 0])
    plain = {"a": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), "b": torch.zeros(4, 2)}
    changed = {"a": {NOISE: plain["a"], FGSM: plain["a"].flip(1)}, "b": {}}
    noise, fgsm = robustness.robustness_rows(plain, changed, labels, {NOISE: 0.1, FGSM: 0.02})
    assert [(row["model"], row["change"], row["strength"], row["n"]) for row in (noise, fgsm)] == [
        ("a", NOISE, 0.1, 4),
        ("a", FGSM, 0.02, 4),
    ]
    assert (noise["top1_pct"], noise["changed_top1_pct"], noise["drop_points"]) == (75.0, 75.0, 0.0)
    assert (fgsm["top1_pct"], fgsm["changed_top1_pct"], fgsm["drop_points"]) == (75.0, 25.0, 50.0)
    assert fgsm["drop_points_low"] < 50.0 < fgsm["drop_points_high"]
