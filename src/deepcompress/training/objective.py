"""What training minimises: an interface that distillation and quantization implement, and cross-entropy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.data.batches import Batch


class Objective(nn.Module, ABC):
    """Turns a model and a batch into one number to minimise.

    Modules that it owns (a regressor between student and teacher) are moved to the device, trained and kept
    in the state of an interrupted run along with the model, but are no part of it. A module whose parameters
    are all frozen (a teacher) is put into evaluation mode.

    Attributes:
        leaves_out: Whether in some steps it gives no gradient to parts of the model or of what it owns.
        reads_layers: Whether it reads what layers inside the model give, by hooks.
    """

    leaves_out: bool = False
    reads_layers: bool = False

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        """The mean loss over the images of the whole batch.

        Of several processes each has some of the images: what a model gives goes through `batch.whole` before
        it is compared, and every process computes the same loss.
        """


class CrossEntropy(Objective):
    """Mean negative log-likelihood of the right class [nats].

    Args:
        label_smoothing: Share of the target that is spread evenly over all classes.

    Source: label smoothing from Szegedy et al., CVPR 2016, https://arxiv.org/abs/1512.00567, section 7.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        return F.cross_entropy(batch.whole(model(batch.images)), batch.labels, label_smoothing=self.label_smoothing)
