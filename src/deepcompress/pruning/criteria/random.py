"""The control: scores that know nothing, so that a criterion shows what its knowledge is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.runtime import derived_seed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.pruning.masks import LayerView

GRANULARITIES = ("weight", "channel")
NEEDS_GRADIENTS = False


def scores(subject: LayerView) -> Float[Tensor, "outputs ..."]:
    """Uniform in [0, 1), drawn on the CPU from the seed and the layer's name: the same on every device.

    Source: the control of Blalock et al., MLSys 2020, https://arxiv.org/abs/2003.03033, section 3.
    """
    import torch

    shape = subject.weight.shape if subject.granularity == "weight" else subject.weight.shape[:1]
    generator = torch.Generator().manual_seed(derived_seed(subject.seed, "random", subject.name))
    return torch.rand(shape, generator=generator).to(subject.weight.device)
