"""Grad-CAM maps of a VGG, by pytorch-grad-cam.

That package takes seconds to import (it brings OpenCV, scikit-learn and torchvision), so it is imported where
maps are made.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepcompress.measure.accuracy import evaluating
from deepcompress.models.spec import layer_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jaxtyping import Float

    from deepcompress.data.batches import Batches
    from deepcompress.models.vgg import Classifier


def maps(model: Classifier, batches: Batches, role: str) -> Float[np.ndarray, "images height width"]:
    """Where in each image a network sees the image's own class.

    Channels of a layer, weighted by the mean gradient of the class's logit, are summed, cut off below 0, brought
    to 0..1 image by image and enlarged (bilinear) to the size of the input. An image whose map is 0 everywhere
    stays 0: see `similarity.usable`.

    Args:
        model: Lies on the device of the batches; its modes and gradients are as before when this returns.
        batches: In any order; rows of the result lie as in the arrays.
        role: The layer; see `spec.layer_name`.

    Returns:
        float32, 0 to 1.

    Source: Selvaraju et al., ICCV 2017, https://arxiv.org/abs/1610.02391, equations 1 and 2; computed by
    https://github.com/jacobgil/pytorch-grad-cam, which brings each map to 0..1.
    """
    from pytorch_grad_cam import GradCAM  # type: ignore[import-untyped]
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # type: ignore[import-untyped]

    layer = model.get_submodule(layer_name(model.spec, role))
    heat = np.zeros((batches.size, batches.view.size, batches.view.size), np.float32)
    with evaluating(model), _all_gradients(model), torch.enable_grad():
        cam = GradCAM(model=model, target_layers=[layer])
        try:  # as a context manager it would swallow an IndexError
            for batch in batches.epoch():
                targets = [ClassifierOutputTarget(label) for label in batch.labels.tolist()]
                heat[batch.indices.cpu().numpy()] = cam(input_tensor=batch.images, targets=targets)
        finally:
            cam.activations_and_grads.release()
    return heat


@contextmanager
def _all_gradients(model: Classifier) -> Iterator[None]:
    """Every parameter takes part in autograd inside; after, each is as it was, without a gradient."""
    before = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, wanted in zip(model.parameters(), before, strict=True):
            parameter.requires_grad_(wanted)
            parameter.grad = None


def inside(maps: Float[np.ndarray, "images height width"], masks: Iterable[np.ndarray]) -> Float[np.ndarray, " images"]:
    """Share of each map that lies inside its image's mask, 0 to 1; NaN for a map that is 0 everywhere."""
    totals = [(float(heat[mask].sum()), float(heat.sum())) for heat, mask in zip(maps, masks, strict=True)]
    return np.array([covered / total if total > 0 else np.nan for covered, total in totals])
