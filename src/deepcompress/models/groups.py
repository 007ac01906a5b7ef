"""Cut the rows of a weight into groups of neighbours that share a scale; a row is what feeds one output.

A row that the wished size does not divide gets as many groups as it needs, all of one size but the last, which
is shorter: 27 inputs in groups of at most 16 are 14 and 13, not 16 and 11. So no group is a stump, and the
number of groups alone tells where they lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped
    from torch import Tensor


def count(inputs: int, group_size: int | None) -> int:
    """Groups in a row of `inputs` weights, each of at most `group_size`; None: one group."""
    return 1 if group_size is None else -(-inputs // group_size)


def size(inputs: int, groups: int) -> int:
    """Weights in each group of a row but the last."""
    return -(-inputs // groups)


def rows(weight: Shaped[Tensor, "outputs ..."]) -> Shaped[Tensor, "outputs inputs"]:
    """One row per output; a convolution's runs over input channel, then height, then width of the kernel.

    Raises:
        ValueError: If the weight has no inputs.
    """
    if weight.dim() < 2 or weight.numel() == 0:
        raise ValueError(f"a weight has outputs and inputs, got the shape {tuple(weight.shape)}")
    return weight.reshape(len(weight), -1)


def split(rows: Shaped[Tensor, "outputs inputs"], groups: int) -> Shaped[Tensor, "outputs groups size"]:
    """The groups of each row, the last one filled up with zeros; a view where nothing is to be filled."""
    length = size(rows.shape[1], groups)
    return F.pad(rows, (0, groups * length - rows.shape[1])).view(len(rows), groups, length)


def join(
    grouped: Shaped[Tensor, "outputs groups size"], shape: tuple[int, ...] | torch.Size
) -> Shaped[Tensor, "outputs ..."]:
    """The inverse of `split`, in the shape of the weight."""
    inputs = torch.Size(shape)[1:].numel()
    return grouped.flatten(1)[:, :inputs].reshape(shape)


def scale_(rows: Float[Tensor, "outputs inputs"], scales: Float[Tensor, "outputs groups"]) -> None:
    """Multiply each group by its scale, in place and without a copy."""
    groups = scales.shape[1]
    length = size(rows.shape[1], groups)
    body = (groups - 1) * length
    if groups > 1:
        rows[:, :body].unflatten(1, (groups - 1, length)).mul_(scales[:, :-1, None])
    rows[:, body:].mul_(scales[:, -1:])
