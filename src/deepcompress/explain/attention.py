"""Attention maps: Grad-CAM's of a network, and how alike two sets of them are.

A similarity (SSIM, cosine, rank correlation) by itself says little, since maps of centred objects are alike whoever
made them. Beside each one stands the similarity to the map of another image (what any two maps share) and, from the
caller, that of a student that never saw the teacher.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from deepcompress.errors import UserError
from deepcompress.measure.accuracy import evaluating
from deepcompress.measure.verdict import Estimate
from deepcompress.models.spec import layer_name
from deepcompress.models.vgg import Classifier, tap

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from deepcompress.data.batches import Batches

    Maps = Float[np.ndarray, "images height width"]

C1, C2 = 0.01**2, 0.03**2  # of SSIM, for a range of 1


def maps(model: Classifier, batches: Batches, role: str) -> Maps:
    """Where in each image a network sees the image's own class.

    Channels of a layer, weighted by the mean gradient of the class's logit, are summed, cut off below 0, enlarged
    (bilinear) to the size of the input and brought to 0..1 image by image. An image whose map is the same everywhere
    has a map of 0: see `usable`.

    Args:
        model: Lies on the device of the batches; its modes and gradients are as before when this returns.
        batches: In any order; rows of the result lie as in the arrays.
        role: The layer; see `spec.layer_name`.

    Returns:
        float32, 0 to 1.

    Source: Selvaraju et al., ICCV 2017, https://arxiv.org/abs/1610.02391, equations 1 and 2; sizes and the range as in
    https://github.com/jacobgil/pytorch-grad-cam, which takes seconds to import.
    """
    name, size = layer_name(model.spec, role), batches.view.size
    heat = np.zeros((batches.size, size, size), np.float32)
    with evaluating(model), torch.enable_grad(), tap(model, [name]) as outputs:
        for batch in batches.epoch():
            images = batch.images.requires_grad_()  # whatever the parameters ask for, there is a way back
            scores = model(images)[torch.arange(len(images)), batch.labels]
            (gradients,) = torch.autograd.grad(scores.sum(), outputs[name])
            small = (gradients.mean((2, 3), keepdim=True) * outputs[name].detach()).sum(1, keepdim=True).relu()
            large = functional.interpolate(small, (size, size), mode="bilinear")[:, 0]
            least, most = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
            scaled = torch.where(most > least, (large - least) / (most - least), 0)
            heat[batch.indices.cpu().numpy()] = scaled.cpu().numpy()
    return heat


def inside(maps: Maps, masks: Iterable[np.ndarray]) -> Float[np.ndarray, " images"]:
    """Share of each map that lies inside its image's mask, 0 to 1; NaN for a map that is 0 everywhere."""
    totals = [(float(heat[mask].sum()), float(heat.sum())) for heat, mask in zip(maps, masks, strict=True)]
    return np.array([covered / total if total > 0 else np.nan for covered, total in totals])


# How alike maps are.


def mean(values: Float[np.ndarray, " images"]) -> Estimate:
    """The mean of the images that have a value (others hold NaN), plus and minus 1.96 standard errors.

    NaN of fewer than two.
    """
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return Estimate(float("nan"), n=len(values))
    middle, reach = float(values.mean()), 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values))
    return Estimate(middle, middle - reach, middle + reach, n=len(values))


def ssim(first: Maps, second: Maps, *, window: int) -> Float[np.ndarray, " images"]:
    """Structural similarity of maps with values in 0..1: uniform window, sample variances, data range 1.

    All images at once: what `skimage.metrics.structural_similarity` gives for one, to the last bits.

    Args:
        first: Maps of some images.
        second: The same images in the same order.
        window: Side of the window [px], odd.

    Returns:
        -1 to 1, 1 for equal maps; NaN where either map is 0 everywhere.

    Raises:
        UserError: If the window is larger than the maps.

    Source: Wang et al., IEEE TIP 13 (2004), https://doi.org/10.1109/TIP.2003.819861, equation 13, there with a
    Gaussian window.
    """
    from scipy.ndimage import uniform_filter

    if window > min(first.shape[1:]):
        raise UserError(f"params.yaml: explain.ssim_window must be at most {min(first.shape[1:])}, got {window}")

    def means(values: Maps) -> Maps:
        """Of the window around each pixel that no border cuts off."""
        inner = slice(window // 2, -(window // 2))
        return uniform_filter(values, (1, window, window))[:, inner, inner]

    def spread(one: Maps, other: Maps, product_of_means: Maps) -> Maps:
        """Their covariance in each window; of maps with themselves the variance."""
        return window**2 / (window**2 - 1) * (means(one * other) - product_of_means)

    a, b = means(first), means(second)
    alike = (2 * a * b + C1) * (2 * spread(first, second, a * b) + C2)
    most = (a**2 + b**2 + C1) * (spread(first, first, a * a) + spread(second, second, b * b) + C2)
    values = (alike / most).mean((1, 2), dtype=np.float64)
    return np.where(usable(first) & usable(second), values, np.nan)


def ssim_to_next(first: Maps, second: Maps, *, window: int) -> Float[np.ndarray, " images"]:
    """The same between a map and the other network's map of the next image: what any two maps share."""
    return ssim(first, np.roll(second, -1, axis=0), window=window)


def cosine(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, " images"]:
    """Of maps as vectors, 0 to 1, or of their `ranks`: Spearman's correlation, -1 to 1.

    NaN where either vector has no length: a map that is 0 everywhere, or has no order.
    """
    first, second = (values.reshape(len(values), -1) for values in (first, second))
    length = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return np.where(length > 0, (first * second).sum(1) / np.where(length > 0, length, 1), np.nan).astype(np.float64)


def ranks(maps: Maps) -> Float[np.ndarray, "images pixels"]:
    """Ranks of each map's pixels, less their mean; ties share their mean rank."""
    import pandas as pd

    flat = maps.reshape(len(maps), -1)
    return pd.DataFrame(flat).rank(axis=1).to_numpy() - (flat.shape[1] + 1) / 2


def usable(maps: Maps) -> Bool[np.ndarray, " images"]:
    """Whether a map is anything but 0."""
    return maps.reshape(len(maps), -1).max(1) > 0
