"""Magnitude of single weights: small weights go first, whatever the loss says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.pruning.masks import LayerView

GRANULARITIES = ("weight",)
NEEDS_GRADIENTS = False


def scores(subject: LayerView) -> Float[Tensor, "outputs ..."]:
    """Absolute value of each weight; higher = keep.

    Source: Han et al., NeurIPS 2015, https://arxiv.org/abs/1506.02626, section 3.2 (they set a threshold per
    layer by hand; here an allocation says how many weights go).
    """
    return subject.weight.abs()
