"""Accuracy on changed images: recoloured ones, and some with Gaussian noise or with a step against the network (FGSM).

Noise and step have the size of the network's input and the unit of pixels in 0..1; all models see the same noise, and
each the step that harms it itself most (white box), a rounded one by the gradients of its dequantized weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from deepcompress.data.augment import Augment, Jitter
from deepcompress.data.store import Arrays, collected
from deepcompress.measure import accuracy, statistics
from deepcompress.measure.statistics import decimals
from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8
    from torch import Tensor, nn

    from deepcompress.data.batches import Batches, View

    Logits = Mapping[str, Float[Tensor, "images classes"]]
    Pixels = Float[Tensor, "batch 3 size size"]
    Row = dict[str, Any]

NOISE, FGSM = "noise", "fgsm"
PIXELS_AT_ONCE = 2**17  # each takes some 100 bytes while its colour changes


def jittered(arrays: Arrays, jitter: Jitter, *, seed: int) -> Arrays:
    """A copy in which each image has its own brightness, contrast, saturation and hue, the same for every model.

    Args:
        arrays: Stored images, which stay as they are. Above their budget the copy lies in a nameless file in scratch.
        jitter: Ranges, as in torchvision's ColorJitter.
        seed: Decides every factor; the same seed gives the same pixels, on any device.
    """
    augment, count, shape = Augment(jitter=jitter), len(arrays), arrays.images.shape
    draws = augment.draw(count, torch.Generator().manual_seed(derived_seed(seed, "jittered images")))
    step = max(1, PIXELS_AT_ONCE // math.prod(shape[1:3]))

    def pieces() -> Iterator[UInt8[np.ndarray, "images height width 3"]]:
        for start in range(0, count, step):
            part = slice(start, start + step)
            pixels = torch.from_numpy(np.array(arrays.images[part]))
            yield augment.apply(pixels, {name: rows[part] for name, rows in draws.items()}).numpy()

    return Arrays(collected(pieces(), shape, arrays.budget_mib, "jittered"), arrays.labels, arrays.budget_mib)


def logits(
    model: nn.Module, batches: Batches, change: str, strength: float, *, seed: int
) -> Float[Tensor, "images classes"]:
    """Answers to changed images.

    NOISE: Gaussian noise on every pixel. FGSM: every pixel goes one step in the direction that raises the model's own
    loss. What would leave the range of pixels is cut off.

    Args:
        model: On the device of the batches, which come in the stored order; its gradients stay as they are.
        change: NOISE or FGSM.
        strength: The noise's standard deviation, or the step; pixels lie in 0..1.
        seed: Decides the noise, together with the batches' size.

    Source: NOISE: Hendrycks and Dietterich, ICLR 2019, https://arxiv.org/abs/1903.12261, "Gaussian noise"; FGSM:
    Goodfellow et al., ICLR 2015, https://arxiv.org/abs/1412.6572, section 4: x + epsilon sign(grad J(x, y)).
    """
    answers, generator = [], torch.Generator().manual_seed(derived_seed(seed, "noisy images"))
    with accuracy.evaluating(model):
        for batch in batches.epoch():
            images = batch.images
            if change == NOISE:
                direction = torch.randn(images.shape, generator=generator).to(images.device)
            else:
                direction = _gradient(model, images, batch.labels).sign()
            with torch.no_grad():
                answers.append(model(_moved(images, strength * direction, batches.view)).float().cpu())
    return torch.cat(answers)


def _gradient(model: nn.Module, images: Pixels, labels: Int[Tensor, " batch"]) -> Pixels:
    """Of the loss, by the normalised images; by pixels it has the same signs, since a channel is scaled as a whole."""
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(model(leaf).double(), labels, reduction="sum")  # float32 loses that of sure answers
        return torch.autograd.grad(loss, leaf)[0]


def _moved(images: Pixels, added: Pixels, view: View) -> Pixels:
    """Normalised images with so much more in every pixel, which stays in 0..1."""
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (view.mean, view.std))
    return ((images * std + mean + added).clamp_(0, 1) - mean) / std


def jitter_rows(plain: Logits, jittered: Logits, labels: Int[Tensor, " images"]) -> list[Row]:
    """A row per model: accuracy on the images and on the jittered copy, each with its 95 % Wilson interval.

    `consistency_pct` is the share of images that get the same answer in both colours, `drop_points` the plain
    accuracy less the jittered one with its paired 95 % interval.
    """
    return [
        {
            "model": model,
            "n": len(labels),
            **_accuracies(outputs, jittered[model], labels, "jittered_top1_pct"),
            "consistency_pct": decimals(100 * accuracy.top1_agreement(outputs, jittered[model])),
        }
        for model, outputs in plain.items()
    ]


def robustness_rows(
    plain: Logits, changed: Mapping[str, Mapping[str, Tensor]], labels: Int[Tensor, " images"], strengths: Row
) -> list[Row]:
    """A row per model and change: accuracy on the images and on the changed ones, with intervals as `jitter_rows` has.

    A model or change that `changed` lacks has no row; `strengths` are standard deviations or steps [pixels in 0..1].
    """
    return [
        {
            "model": model,
            "change": name,
            "strength": strengths[name],
            "n": len(labels),
            **_accuracies(plain[model], outputs, labels, "changed_top1_pct"),
        }
        for model, by_change in changed.items()
        for name, outputs in by_change.items()
    ]


def _accuracies(plain: Tensor, changed: Tensor, labels: Int[Tensor, " images"], name: str) -> Row:
    right = {key: accuracy.top_k_correct(of, labels).numpy() for key, of in (("top1_pct", plain), (name, changed))}
    values: dict[str, float] = {}
    for key, own in right.items():
        low, high = statistics.wilson_interval(int(own.sum()), len(own))
        values |= {key: 100 * (int(own.sum()) / len(own)), f"{key}_low": 100 * low, f"{key}_high": 100 * high}
    drop = statistics.compare(*right.values())
    values |= {"drop_points": drop.points, "drop_points_low": drop.low, "drop_points_high": drop.high}
    return {key: decimals(value) for key, value in values.items()}
