"""First-order estimate, from gradients on training batches, of what the loss says of a weight or a filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.pruning.masks import LayerView

GRANULARITIES = ("weight", "channel")
NEEDS_GRADIENTS = True


def scores(subject: LayerView) -> Float[Tensor, "outputs ..."]:
    """|gradient * weight| of one batch, summed over the filter before the absolute value; higher = keep.

    Scores of several batches are averaged, so that gradients of opposite sign do not cancel.

    Args:
        subject: With the gradient of the batch's mean cross-entropy.

    Returns:
        One score per weight or per output channel, in nats.

    Source: Molchanov et al., ICLR 2017, https://arxiv.org/abs/1611.06440, equation 8, with weights in the place
    of activations as in Molchanov et al., CVPR 2019, https://arxiv.org/abs/1906.10771, section 3.1. The 2019 paper
    squares; the absolute value ranks one batch alike, and no single batch rules an average of it.
    """
    assert subject.gradient is not None  # NEEDS_GRADIENTS
    product = subject.weight * subject.gradient
    return (product if subject.granularity == "weight" else product.flatten(1).sum(dim=1)).abs()
