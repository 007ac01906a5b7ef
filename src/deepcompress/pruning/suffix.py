"""A VGG as a chain that can be entered at any layer, so that only what lies behind a pruned one runs again.

Beside a convolution what costs time is memory: each wide map that is written anew. So ReLU writes in place
where it can and stands behind max-pooling, with which it commutes exactly, and on a CPU images pass in
chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from deepcompress.models.vgg import VGG

    Step = Callable[[Tensor], Tensor]

CHUNK_BYTES = 2**27  # of the widest map that a chunk of images makes on a CPU


@dataclass(frozen=True)
class Link:
    """A convolution or linear layer, and what follows it up to the next one.

    Attributes:
        name: Of the layer.
        layer: The layer.
        glue: Batch norm, pooling, ReLU, flattening: run in order; none writes to what the first is given.
    """

    name: str
    layer: nn.Conv2d | nn.Linear
    glue: tuple[Step, ...]

    def behind(self, output: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """From the layer's output to the next layer's input."""
        for step in self.glue:
            output = step(output)
        return output


def links(model: VGG) -> tuple[Link, ...]:
    """The whole network in forward order, as it is in evaluation mode."""
    chain: list[tuple[str, nn.Conv2d | nn.Linear, list[nn.Module]]] = []
    modules = [
        *_named(model, "features"),
        ("", model.avgpool),
        ("", nn.Flatten()),
        *_named(model, "classifier"),
    ]
    for name, module in modules:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            chain.append((name, module, []))
        elif not isinstance(module, nn.Dropout):
            chain[-1][2].append(module)
    return tuple(Link(name, layer, _glue(rest)) for name, layer, rest in chain)


def inputs(
    chain: Sequence[Link], images: Float[Tensor, "batch 3 height width"]
) -> tuple[list[Float[Tensor, "batch ..."]], Float[Tensor, "batch classes"]]:
    """The dense network's input of every layer, and its answers."""
    found, value = [], images
    for link in chain:
        found.append(value)
        value = _by_chunks(value, [link])
    return found, value


def run(chain: Sequence[Link], value: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
    """Run some links one after another.

    Args:
        chain: The links, in order.
        value: Input of the first of them.
    """
    return _by_chunks(value, chain) if chain else value


def chunk(link: Link, value: Float[Tensor, "batch ..."]) -> int:
    """How many images may pass `link` at once; further on in the network maps only get smaller.

    Args:
        link: A convolution with 3x3 taps that keeps the size of the map, or a linear layer.
        value: Its input; on other devices than the CPU all of it passes at once.
    """
    if value.device.type != "cpu":
        return len(value)
    pixels = value[0, 0].numel() if isinstance(link.layer, nn.Conv2d) else 1
    return max(1, CHUNK_BYTES // (len(link.layer.weight) * pixels * value.element_size()))


def _by_chunks(value: Tensor, chain: Sequence[Link]) -> Tensor:
    parts = value.split(chunk(chain[0], value))
    done = []
    for part in parts:
        for link in chain:
            part = link.behind(link.layer(part))
        done.append(part)
    return done[0] if len(done) == 1 else torch.cat(done)


def _named(model: VGG, part: str) -> list[tuple[str, nn.Module]]:
    return [(f"{part}.{name}", module) for name, module in model.get_submodule(part).named_children()]


def _glue(modules: Sequence[nn.Module]) -> tuple[Step, ...]:
    """The modules as functions, each ReLU behind the pooling that follows it."""
    order = list(modules)
    for at in range(len(order) - 1):
        if isinstance(order[at], nn.ReLU) and isinstance(order[at + 1], nn.MaxPool2d):
            order[at], order[at + 1] = order[at + 1], order[at]
    return tuple(F.relu_ if isinstance(module, nn.ReLU) and at else module for at, module in enumerate(order))
