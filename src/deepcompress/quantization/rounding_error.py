"""What rounding does to weights and to answers, in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.quantization.format import Format, Scales


def of_weights(
    true: Mapping[str, Float[Tensor, "outputs ..."]], formats: Mapping[str, Format], scales: Mapping[str, Scales]
) -> dict[str, float]:
    """Over the weights of all layers together.

    Args:
        true: Weights before rounding, per layer, on the CPU.
        formats: Of the layers.
        scales: Of the layers.

    Returns:
        `weight_error_relative`: length of the error over length of the weights; `weight_error_largest`: of a
        single weight; `overflows`: weights beyond the grid, set to its end; `underflows`: weights that were not
        zero and became it; `subnormals`: others that are below the format's whole precision.
    """
    squares = error_squares = largest = 0.0
    overflows = underflows = subnormals = 0
    for name, weight in true.items():
        form = formats[name]
        rounded = form.rounded(weight, scales[name])
        error = rounded - weight
        squares += float(weight.double().square().sum())
        error_squares += float(error.double().square().sum())
        largest = max(largest, float(error.abs().max()))
        overflows += form.overflows(weight, scales[name])
        underflows += int(((weight != 0) & (rounded == 0)).sum())
        subnormals += int(((rounded != 0) & (rounded.abs() < form.smallest_normal)).sum())
    return {
        "weight_error_relative": (error_squares / squares) ** 0.5 if squares else 0.0,
        "weight_error_largest": largest,
        "overflows": overflows,
        "underflows": underflows,
        "subnormals": subnormals,
    }


def of_answers(true: Float[Tensor, "images classes"], rounded: Float[Tensor, "images classes"]) -> float:
    """Length of the error of all logits over the length of the logits."""
    return float(torch.linalg.vector_norm(rounded - true) / torch.linalg.vector_norm(true))
