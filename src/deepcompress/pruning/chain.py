"""The answers of a network with one of its layers pruned: by what lies behind that layer, or by all of the network.

A VGG is a chain that can be entered at any layer, so that only the rest behind the pruned one runs again, for all
levels of pruning at once. Where shortcuts lead around layers the whole network runs again for every layer and level; it
is still one pass over the data. Beside a convolution what costs time is memory: each wide map that is written anew. So
ReLU writes in place where it can and stands behind max-pooling, with which it commutes exactly, and on a CPU images
pass in chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from deepcompress.models.vgg import VGG
from deepcompress.pruning import layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jaxtyping import Float, UInt8
    from torch import Tensor

    from deepcompress.models.vgg import Classifier
    from deepcompress.pruning.masks import Granularity

    Step = Callable[[Tensor], Tensor]

CHUNK_BYTES = 2**27  # of the widest map that a chunk of images makes on a CPU
ROWS_BYTES = 2**26  # of a linear layer's weight that are copied at a time


class PrunedForward(Protocol):
    """A network that answers to some images, then to the same ones with a layer pruned."""

    def dense(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """The network's own answers; the images are those of all calls of `pruned` until the next one."""

    def pruned(self, name: str, survived: UInt8[Tensor, "outputs ..."], levels: int) -> Float[Tensor, "variants _"]:
        """Answers with one layer pruned at each level.

        Args:
            name: Of the layer.
            survived: How many levels each of its weights, or channels, survives.
            levels: Their number.

        Returns:
            Answers of level 0 to all images, then of level 1, and so on.
        """


def pruned_forward(model: Classifier, granularity: Granularity) -> PrunedForward:
    """The fastest way for a model that is in evaluation mode; nothing is written to it."""
    return _Chain(model, granularity) if isinstance(model, VGG) else _Whole(model, granularity)


class _Whole:
    """Every level is a pass through all of the network."""

    def __init__(self, model: Classifier, granularity: Granularity) -> None:
        self._model, self._granularity, self._images = model, granularity, torch.empty(0)

    def dense(self, images: Tensor) -> Tensor:
        self._images = images
        return self._model(images)

    def pruned(self, name: str, survived: Tensor, levels: int) -> Tensor:
        return torch.cat([self._answers(name, survived > level) for level in range(levels)])

    def _answers(self, name: str, kept: Tensor) -> Tensor:
        by_weight = self._granularity == "weight"
        masks = {f"{name}.weight": kept} if by_weight else layers.group_masks(self._model.spec, {name: kept})
        changed = {}
        for key, mask in masks.items():
            parameter = self._model.get_parameter(key).detach()
            changed[key] = parameter.masked_fill(mask.logical_not().to(parameter.device), 0)
        return torch.func.functional_call(self._model, changed, (self._images,))


class _Chain:
    """Each link's input is kept, so that a pruned network is entered at its first link that differs."""

    def __init__(self, model: VGG, granularity: Granularity) -> None:
        self._links, self._granularity = links(model), granularity
        self._places = {link.name: place for place, link in enumerate(self._links)}
        self._linear = next(at for at, link in enumerate(self._links) if isinstance(link.layer, nn.Linear))
        self._inputs: list[Tensor] = []

    def dense(self, images: Tensor) -> Tensor:
        self._inputs = []
        for link in self._links:
            self._inputs.append(images)
            images = _by_chunks(images, [link])
        return images

    def pruned(self, name: str, survived: Tensor, levels: int) -> Tensor:
        place = self._places[name]
        if self._granularity == "weight":
            return self._without_weights(place, survived, levels)
        return self._without_channels(place + 1, survived, levels)

    def _without_weights(self, place: int, survived: Tensor, levels: int) -> Tensor:
        link, value = self._links[place], self._inputs[place]
        if isinstance(link.layer, nn.Linear):
            return self._rest(place + 1, link.behind(_linear(link.layer, value, survived, levels)))
        variants = []
        for weight in _pruned(link.layer.weight.detach(), survived, levels):
            for part in value.split(_chunk(link, value)):
                output = _convolve(link.layer, part, weight, link.layer.bias)
                variants.append(self._convolutions(place + 1, link.behind(output)))
        return self._rest(self._linear, torch.cat(variants))

    def _without_channels(self, place: int, survived: Tensor, levels: int) -> Tensor:
        """By the layer behind the pruned one, at `place`: the pruned one itself is not run again.

        A pruned channel is zero behind its batch norm, hence behind ReLU and pooling: to the next layer it is an input
        that is not there. A convolution is linear in its inputs, so from the last level up each variant is the one
        before plus the convolution of the channels that come back: all levels together cost one convolution.
        """
        link, value = self._links[place], self._inputs[place]
        if isinstance(link.layer, nn.Linear):
            columns = survived.repeat_interleave(value.shape[1] // len(survived))
            return self._rest(place, torch.cat([value * (columns > level) for level in range(levels)]))
        variants: list[list[Tensor]] = [[] for _ in range(levels)]
        for part in value.split(_chunk(link, value)):
            for level, output in _growing(link.layer, part, survived, levels):
                variants[level].append(self._convolutions(place + 1, link.behind(output)))
        return self._rest(self._linear, torch.cat([torch.cat(parts) for parts in variants]))

    def _convolutions(self, place: int, value: Tensor) -> Tensor:
        return _by_chunks(value, self._links[place : self._linear])

    def _rest(self, place: int, value: Tensor) -> Tensor:
        """Linear layers take many variants together, which cost them one reading of their weights."""
        return _by_chunks(value, self._links[place:])


@dataclass(frozen=True)
class Link:
    """A convolution or linear layer, and what follows it up to the next one.

    Attributes:
        name: Of the layer.
        layer: The layer.
        post_ops: Batch norm, pooling, ReLU, flattening: run in order; none writes to what the first is given.
    """

    name: str
    layer: nn.Conv2d | nn.Linear
    post_ops: tuple[Step, ...]

    def behind(self, output: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """From the layer's output to the next layer's input."""
        for step in self.post_ops:
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
    return tuple(Link(name, layer, _post_ops(rest)) for name, layer, rest in chain)


def _named(model: VGG, part: str) -> list[tuple[str, nn.Module]]:
    return [(f"{part}.{name}", module) for name, module in model.get_submodule(part).named_children()]


def _post_ops(modules: Sequence[nn.Module]) -> tuple[Step, ...]:
    """The modules as functions, each ReLU behind the pooling that follows it."""
    order = list(modules)
    for at in range(len(order) - 1):
        if isinstance(order[at], nn.ReLU) and isinstance(order[at + 1], nn.MaxPool2d):
            order[at], order[at + 1] = order[at + 1], order[at]
    return tuple(F.relu_ if isinstance(module, nn.ReLU) and at else module for at, module in enumerate(order))


def _by_chunks(value: Float[Tensor, "batch ..."], chain: Sequence[Link]) -> Float[Tensor, "batch ..."]:
    """What some links make of the first one's input."""
    if not chain:
        return value
    done = []
    for part in value.split(_chunk(chain[0], value)):
        for link in chain:
            part = link.behind(link.layer(part))
        done.append(part)
    return done[0] if len(done) == 1 else torch.cat(done)


def _chunk(link: Link, value: Tensor) -> int:
    """How many images may pass `link` at once; further on in the network maps only get smaller.

    A convolution's 3x3 taps keep the size of the map. On other devices than the CPU all images pass at once.
    """
    if value.device.type != "cpu":
        return len(value)
    pixels = value[0, 0].numel() if isinstance(link.layer, nn.Conv2d) else 1
    return max(1, CHUNK_BYTES // (len(link.layer.weight) * pixels * value.element_size()))


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
