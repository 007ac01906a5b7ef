"""How the weights of each layer are distributed, as counts that a report can draw without the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepcompress.models.vgg import prunable_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor, nn

BINS = 60
WIDEST = 0.999  # share of a layer's weights that the bins span; the rest is counted in the outermost bins


def edges(model: nn.Module) -> dict[str, Float[Tensor, " edges"]]:
    """Per layer, the borders of BINS bins of equal width, symmetric about zero.

    They span all but the largest thousandth of the weights, so that a single outlier does not squeeze the rest
    into a few bins.
    """
    found = {}
    for name, layer in prunable_layers(model).items():
        sizes = layer.weight.detach().abs().flatten().cpu()
        widest = float(sizes.kthvalue(max(1, int(WIDEST * len(sizes)))).values) or 1.0
        found[name] = torch.linspace(-widest, widest, BINS + 1)
    return found


def histograms(model: nn.Module, borders: Mapping[str, Float[Tensor, " edges"]]) -> list[dict[str, Any]]:
    """Counts of the weights that are not zero, and of those that are.

    Args:
        model: With the layers that `borders` names.
        borders: Of `edges`, perhaps of another model with these layers.

    Returns:
        A row per layer and bin: `layer`, `low` and `high` (weight units), `count` of non-zero weights, and
        `zeros` and `weights`, those of the whole layer.
    """
    rows = []
    for name, layer in prunable_layers(model).items():
        values = layer.weight.detach().flatten().cpu()
        survivors, border = values[values != 0], borders[name]
        inside = survivors.clamp(float(border[0]), float(border[-1]))
        counts = np.histogram(inside.numpy(), border.numpy())[0].tolist()
        whole = {"zeros": len(values) - len(survivors), "weights": len(values)}
        bins = zip(border[:-1].tolist(), border[1:].tolist(), counts, strict=True)
        rows += [{"layer": name, "low": low, "high": high, "count": count, **whole} for low, high, count in bins]
    return rows
