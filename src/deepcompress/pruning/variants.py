"""What a layer gives, pruned at each of several levels, for the price of little more than one pass.

Levels are nested: what one prunes, the next prunes too. So each weight carries one number, how many levels it
survives, and a variant follows from the one before. Nothing here writes to the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from deepcompress.pruning.suffix import chunk, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float, UInt8
    from torch import Tensor

    from deepcompress.pruning.suffix import Link

ROWS_BYTES = 2**26  # of a linear layer's weight that are copied at a time


def without_weights(
    chain: Sequence[Link],
    value: Float[Tensor, "batch ..."],
    survived: UInt8[Tensor, "outputs ..."],
    levels: int,
) -> Float[Tensor, "variants classes"]:
    """The network's answers with single weights of its first layer pruned.

    Args:
        chain: The pruned layer and all behind it.
        value: The dense input of that layer.
        survived: How many levels each weight survives.
        levels: Their number.

    Returns:
        Answers of level 0 to all images, then of level 1, and so on.
    """
    link, rest = chain[0], chain[1:]
    if isinstance(link.layer, nn.Linear):
        return run(rest, link.behind(_linear(link.layer, value, survived, levels)))
    maps, head = _at_linear(rest)
    found = []
    for weight in _pruned(link.layer.weight.detach(), survived, levels):
        parts = value.split(chunk(link, value))
        found += [run(maps, link.behind(_convolve(link.layer, part, weight, link.layer.bias))) for part in parts]
    return run(head, torch.cat(found))


def without_channels(
    chain: Sequence[Link],
    value: Float[Tensor, "batch ..."],
    survived: UInt8[Tensor, " channels"],
    levels: int,
) -> Float[Tensor, "variants classes"]:
    """The network's answers with output channels of one layer pruned, that layer not being run again.

    A pruned channel is zero behind its batch norm, hence behind ReLU and pooling: to the next layer it is an
    input that is not there. A convolution is linear in its inputs, so from the last level up each variant is
    the one before plus the convolution of the channels that come back: all levels together cost one
    convolution.

    Args:
        chain: All layers behind the pruned one.
        value: The dense input of the first of them.
        survived: How many levels each channel survives.
        levels: Their number.

    Returns:
        As `without_weights`.
    """
    link, rest = chain[0], chain[1:]
    if isinstance(link.layer, nn.Linear):
        columns = survived.repeat_interleave(value.shape[1] // len(survived))
        variants = torch.cat([value * (columns > level) for level in range(levels)])
        return run(chain, variants)
    maps, head = _at_linear(rest)
    found: list[list[Tensor]] = [[] for _ in range(levels)]
    for part in value.split(chunk(link, value)):
        for level, output in _growing(link.layer, part, survived, levels):
            found[level].append(run(maps, link.behind(output)))
    return run(head, torch.cat([torch.cat(parts) for parts in found]))


def _growing(
    layer: nn.Conv2d, value: Tensor, survived: Tensor, levels: int
) -> Iterator[tuple[int, Float[Tensor, "batch filters height width"]]]:
    """The layer's output from the last level to the first; each is overwritten by the next."""
    total = None
    for level in reversed(range(levels)):
        fresh = survived > level if total is None else survived == level + 1
        channels = fresh.nonzero()[:, 0]
        weight = layer.weight.detach().index_select(1, channels)
        added = value.index_select(1, channels).contiguous(memory_format=torch.channels_last)
        if total is None:
            total = _convolve(layer, added, weight, layer.bias)
        elif len(channels):
            total += _convolve(layer, added, weight, None)
        yield level, total


def _pruned(weight: Tensor, survived: Tensor, levels: int) -> Iterator[Tensor]:
    """The weight at each level; each is overwritten by the next."""
    remaining = weight.clone()
    for level in range(levels):
        yield remaining.masked_fill_(survived == level, 0)


def _linear(layer: nn.Linear, value: Tensor, survived: Tensor, levels: int) -> Float[Tensor, "variants outputs"]:
    """The layer's output at each level, some rows of the weight at a time."""
    weight = layer.weight.detach()
    answers = value.new_empty(levels, len(value), len(weight))
    rows = max(1, ROWS_BYTES // (weight.shape[1] * weight.element_size()))
    for start in range(0, len(weight), rows):
        part = slice(start, start + rows)
        for level, remaining in enumerate(_pruned(weight[part], survived[part], levels)):
            answers[level, :, part] = F.linear(value, remaining, layer.bias[part])
    return answers.flatten(0, 1)


def _convolve(layer: nn.Conv2d, value: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(value, weight, bias, layer.stride, layer.padding, layer.dilation)


def _at_linear(chain: Sequence[Link]) -> tuple[Sequence[Link], Sequence[Link]]:
    """Split where linear layers begin: many variants together cost them one reading of their weights."""
    first = next(at for at, link in enumerate(chain) if isinstance(link.layer, nn.Linear))
    return chain[:first], chain[first:]
