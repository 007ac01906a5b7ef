"""The answers of a network with one of its layers pruned: by what lies behind that layer, or by all of the network.

A VGG is a chain, of which only the rest behind the pruned layer runs. Where shortcuts lead around layers the whole
network runs again for every layer and level; it is still one pass over the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from deepcompress.models.vgg import VGG
from deepcompress.pruning import coupling, suffix, variants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor

    from deepcompress.models.classifier import Classifier
    from deepcompress.pruning.scoring import Granularity


class Trial(Protocol):
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


def trial(model: Classifier, granularity: Granularity) -> Trial:
    """The fastest way for a model that is in evaluation mode; nothing is written to it."""
    return _Chain(model, granularity) if isinstance(model, VGG) else _Whole(model, granularity)


class _Chain:
    def __init__(self, model: VGG, granularity: Granularity) -> None:
        self._chain, self._granularity = suffix.links(model), granularity
        self._places = {link.name: place for place, link in enumerate(self._chain)}
        self._inputs: list[Tensor] = []

    def dense(self, images: Tensor) -> Tensor:
        self._inputs, answers = suffix.inputs(self._chain, images)
        return answers

    def pruned(self, name: str, survived: Tensor, levels: int) -> Tensor:
        place = self._places[name]
        if self._granularity == "weight":
            return variants.without_weights(self._chain[place:], self._inputs[place], survived, levels)
        return variants.without_channels(self._chain[place + 1 :], self._inputs[place + 1], survived, levels)


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
            yield from coupling.masks(self._model.spec, {name: kept}).items()
