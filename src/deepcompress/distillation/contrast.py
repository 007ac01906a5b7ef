"""What contrastive distillation is made of: embeddings, negatives of other classes, and memories of every image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

EPSILON = 1e-7  # the authors'; keeps both logarithms finite


class Embedding(nn.Module):
    """A linear layer, then length 1."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width)

    def forward(self, features: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch width"]:
        return F.normalize(self.linear(features))


class Negatives(nn.Module):
    """Rows of training images of other classes, drawn evenly and with replacement on the device.

    Draws come from torch's global generator, which the loop seeds in each epoch. An image's draw depends on its
    rank among the rows of the batch, so that the order of the batch does not matter.

    Args:
        labels: Class of every training image, by row.
        count: Negatives per image.

    Raises:
        UserError: If there is a single class.
    """

    by_class: Tensor
    first: Tensor
    sizes: Tensor

    def __init__(self, labels: Int[Tensor, " images"], count: int) -> None:
        super().__init__()
        sizes = torch.bincount(labels)
        if int((sizes > 0).sum()) < 2:
            raise UserError("crd needs images of two classes or more: negatives are of other classes")
        self.count, self.images = count, len(labels)
        self.register_buffer("by_class", labels.argsort(stable=True), persistent=False)
        self.register_buffer("first", sizes.cumsum(0) - sizes, persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)

    def forward(self, labels: Int[Tensor, " batch"], indices: Int[Tensor, " batch"]) -> Int[Tensor, "batch count"]:
        """Rows for each image of a batch, its own class skipped."""
        draws = torch.rand(len(labels), self.count, device=labels.device)[indices.argsort().argsort()]
        first, own = self.first[labels][:, None], self.sizes[labels][:, None]
        place = (draws * (self.images - own)).long().clamp(max=self.images - own - 1)
        return self.by_class[place + own * (place >= first)]


class Memory(nn.Module):
    """A memory of one network's embedding of every training image, and the loss of the other's against it.

    All N scores of an image come from one matrix product, of which the K wanted are taken: for N up to some
    ten times K that is less work than gathering K vectors per image, as the authors' code does.

    Args:
        images: Training images, N.
        width: Of an embedding.
        momentum: Share of the old embedding that an update keeps.
        temperature: Divides inner products.
    """

    rows: Tensor
    normaliser: Tensor

    def __init__(self, images: int, *, width: int, momentum: float, temperature: float) -> None:
        super().__init__()
        self.momentum, self.temperature = momentum, temperature
        reach = 1 / math.sqrt(width / 3)
        self.register_buffer("rows", torch.empty(images, width).uniform_(-reach, reach))
        self.register_buffer("normaliser", torch.zeros(()))  # zero until the first batch sets it

    def loss(
        self,
        embedded: Float[Tensor, "batch width"],
        positives: Int[Tensor, " batch"],
        negatives: Int[Tensor, "batch count"],
    ) -> Float[Tensor, ""]:
        """Noise contrastive estimation against the memory, mean over the batch [nats].

        Args:
            embedded: Of the network that the memory does not belong to.
            positives: Row of each image.
            negatives: Rows of its negatives.
        """
        wanted = torch.cat([positives[:, None], negatives], 1)
        scores = (embedded @ self.rows.T / self.temperature).gather(1, wanted).exp()
        with torch.no_grad():
            first = self.normaliser == 0
            self.normaliser.copy_(torch.where(first, scores.mean() * len(self.rows), self.normaliser))
        likely = scores / self.normaliser
        noise = negatives.shape[1] / len(self.rows)
        positive = (likely[:, 0] / (likely[:, 0] + noise + EPSILON)).log()
        negative = (noise / (likely[:, 1:] + noise + EPSILON)).log()
        return -(positive.sum() + negative.sum()) / len(wanted)

    def remember_(self, embedded: Float[Tensor, "batch width"], indices: Int[Tensor, " batch"]) -> None:
        """Move what is held of a batch towards new, detached embeddings and back to length 1.

        The rows become a new tensor: the backward pass still needs the old one.
        """
        moved = self.momentum * self.rows[indices] + (1 - self.momentum) * embedded
        self.rows = self.rows.index_copy(0, indices, F.normalize(moved))
