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

    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor

    from deepcompress.models.vgg import Classifier
    from deepcompress.pruning.scoring import Granularity

    Step = Callable[[Tensor], Tensor]


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


class _Chain:
    def __init__(self, model: VGG, granularity: Granularity) -> None:
        self._chain, self._granularity = links(model), granularity
        self._places = {link.name: place for place, link in enumerate(self._chain)}
        self._inputs: list[Tensor] = []

    def dense(self, images: Tensor) -> Tensor:
        self._inputs, answers = inputs(self._chain, images)
        return answers

    def pruned(self, name: str, survived: Tensor, levels: int) -> Tensor:
        place = self._places[name]
        if self._granularity == "weight":
            return without_weights(self._chain[place:], self._inputs[place], survived, levels)
        return without_channels(self._chain[place + 1 :], self._inputs[place + 1], survived, levels)


class _Whole:
    def __init__(self, model: Classifier, granularity: Granularity) -> None:
        self._model, self._granularity, self._images = model, granularity, torch.empty(0)

    def dense(self, images: Tensor) -> Tensor:
        self._images = images
        return self._model(images)

    def pruned(self, name: str, survived: Tensor, levels: int) -> Tensor:
        return torch.cat([self._answers(self._masks(name, survived > level)) for level in range(levels)])

    def _answers(self, masks: Iterator[tuple[str, Tensor]]) -> Tensor:
        changed = {}
        for name, mask in masks:
            parameter = self._model.get_parameter(name).detach()
            changed[name] = parameter.masked_fill(mask.logical_not().to(parameter.device), 0)
        return torch.func.functional_call(self._model, changed, (self._images,))

    def _masks(self, name: str, kept: Bool[Tensor, "outputs ..."]) -> Iterator[tuple[str, Tensor]]:
        if self._granularity == "weight":
            yield f"{name}.weight", kept
        else:
            yield from layers.group_masks(self._model.spec, {name: kept}).items()


CHUNK_BYTES = 2**27  # of the widest map that a chunk of images makes on a CPU


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


def _post_ops(modules: Sequence[nn.Module]) -> tuple[Step, ...]:
    """The modules as functions, each ReLU behind the pooling that follows it."""
    order = list(modules)
    for at in range(len(order) - 1):
        if isinstance(order[at], nn.ReLU) and isinstance(order[at + 1], nn.MaxPool2d):
            order[at], order[at + 1] = order[at + 1], order[at]
    return tuple(F.relu_ if isinstance(module, nn.ReLU) and at else module for at, module in enumerate(order))


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
