"""Length of whole filters: the L2 norm of a convolution's filter, or of a linear unit's row of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.pruning.masks import LayerView

GRANULARITIES = ("channel",)
NEEDS_GRADIENTS = False


def scores(subject: LayerView) -> Float[Tensor, " outputs"]:
    """L2 norm over all weights that make one output channel; higher = keep. Compare within a layer only.

    Source: Li et al., ICLR 2017, https://arxiv.org/abs/1608.08710, section 3.1. They use the L1 norm and find
    in section 4.4 that the L2 norm ranks filters much the same; `torch.nn.utils.prune.ln_structured(n=2,
    dim=0)` is this.
    """
    return subject.weight.flatten(1).norm(dim=1)
