"""Scale of a filter's batch norm: what its channel is multiplied by on its way to the next layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.pruning.masks import LayerView

GRANULARITIES = ("channel",)
NEEDS_GRADIENTS = False


def scores(subject: LayerView) -> Float[Tensor, " outputs"]:
    """|scale| of each output channel; higher = keep. Compare within a layer only.

    A batch norm divides by the deviation of what a filter gives, so that the filter's length says nothing of how large
    the channel is behind it. Where no batch norm follows (a linear layer, a VGG without) the length says it, and the L2
    norm is taken.

    Source: Liu et al. (Network Slimming), ICCV 2017, https://arxiv.org/abs/1708.06519, section 3. They train with a
    penalty on the scales and rank them over all layers; here no penalty is needed and an allocation ranks layers.
    """
    if subject.norm_scale is None:
        return subject.weight.flatten(1).norm(dim=1)
    return subject.norm_scale.abs()
