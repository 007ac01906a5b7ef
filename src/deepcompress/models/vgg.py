"""Build VGG-11, 13, 16 or 19 from lists of widths, with torchvision's layer names.

Plain torch, because importing torchvision costs more than the rest of a stage's start-up; a test holds it
equal to torchvision's. A structurally pruned network is this same class with smaller widths.
Source: Simonyan and Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556; layer names as in
torchvision.models.vgg, of whose initialisation we change two things: see VGG.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from deepcompress.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float

    from deepcompress.models.spec import Spec, VGGSpec


class Classifier(nn.Module):
    """The common type of VGGs and of all other networks; `build` in models/build.py makes both."""

    spec: Spec  # every number needed to build the network again, so that a checkpoint can


COPY_NOISE = 0.01  # of Kaiming's weights, in filters that copy
SMALL_MAP, WIDE = 4, 224  # px, channels; measured, see SmallMapConv2d


class VGG(Classifier):
    """Five blocks of 3x3 convolutions, then three linear layers.

    The map is flattened channel by channel: with g = spec.grid, channel c feeds the columns c*g*g up to
    (c+1)*g*g - 1 of `classifier.0`. ReLUs are not in place, so that an output seen by a hook stays what the
    layer gave.

    Weights are drawn from torch's global generator. Initialisation is torchvision's (convolutions Kaiming normal by fan
    out, the last layer normal with a standard deviation of 0.01), with two exceptions. The two hidden linear layers are
    Kaiming normal by fan in: torchvision's 0.01 suits 25,088 inputs and starves narrow networks. At width 0.25 and 32
    px (20 classes of CIFAR-100, 3505 images, 6 epochs of AdamW, 1000 validation images, two seeds) top-1 rises from 37
    and 37 % to 50 and 51 % with batch norm, and from 15 and 16 % to 38 and 30 % without. And convolutions behind the
    first pass on what they see: their first filters, as many as they have inputs, nearly copy one each. A deep network
    that mixes channels at random from the start learns nothing for many epochs, and how many is luck: docs/results.md,
    "Deep networks that start at once".

    Source of the copies: Zagoruyko and Komodakis, 2017, https://arxiv.org/abs/1706.00388; for the first filters alone
    Jordan, 2024, https://arxiv.org/abs/2404.00498, section 3.3.
    """

    spec: VGGSpec

    def __init__(self, spec: VGGSpec) -> None:
        super().__init__()
        self.spec = spec
        self.features = PoolFirst(*_feature_layers(spec))
        self.avgpool = nn.AdaptiveAvgPool2d((spec.grid, spec.grid))
        self.classifier = nn.Sequential(*_classifier_layers(spec))
        if not self.features[0].weight.is_meta:  # for such tensors, drawing would load torch's compiler: two seconds
            _initialise_(self)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        maps = self.features(images)
        height, width = maps.shape[-2:]
        if min(height, width) < self.spec.grid:
            raise ValueError(f"images must have {self.spec.image_size} px or more, got {images.shape[-1]}")
        # Pooling a map of the right size is the identity, but its backward pass is not deterministic on CUDA.
        if (height, width) != (self.spec.grid, self.spec.grid):
            maps = self.avgpool(maps)
        return self.classifier(torch.flatten(maps, 1))


class PoolFirst(nn.Sequential):
    """Layers in turn, in the order of `pool_first`.

    In an exported graph they keep their own order: a runtime joins a convolution with the ReLU behind it.
    """

    def forward(
        self, input: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch filters smaller narrower"]:
        for layer in self if torch.compiler.is_exporting() else pool_first(self):
            input = layer(input)
        return input


def pool_first(layers: Iterable[Callable[[Tensor], Tensor]]) -> list[Callable[[Tensor], Tensor]]:
    """Layers that run in turn, but of a ReLU and the max pooling behind it the pooling first.

    The largest of some numbers, cut at 0, is the largest of the cut ones, and the same one gets the gradient: every
    bit stays, and three quarters of the ReLU's work go. Where somebody hooks one of the two, both keep their order.
    """
    order = list(layers)
    for at, (first, second) in enumerate(itertools.pairwise(tuple(order))):
        if isinstance(first, nn.ReLU) and isinstance(second, nn.MaxPool2d) and not (_hooked(first) or _hooked(second)):
            order[at : at + 2] = second, first
    return order


def steps(model: VGG) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """The modules of a VGG in forward order, with their names; what flattens the map has none."""
    for name, module in model.features.named_children():
        yield f"features.{name}", module
    yield "", lambda maps: torch.flatten(model.avgpool(maps), 1)
    for name, module in model.classifier.named_children():
        yield f"classifier.{name}", module


class SmallMapConv2d(nn.Conv2d):
    """A wide convolution of maps so small that on a CPU oneDNN's own blocked memory beats channels_last.

    At 512 filters on maps of 2 px its channels_last kernels reach a quarter of the matrix multiplication rate, and
    training takes 1.9 times as long; at 224 filters both are even, at 64 blocked memory takes 1.15 times as long, for
    the conversion. The result is the same up to rounding.
    """

    def forward(
        self, input: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch filters height width"]:
        if input.device.type != "cpu":
            return super().forward(input)
        return self._conv_forward(input.contiguous(), self.weight.contiguous(), self.bias)


def prunable_layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """All convolutions and linear layers that run, by name, in forward order."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    order = getattr(model, "layer_order", None)  # of a network whose code says nothing about it; see build.py
    return layers if order is None else {name: layers[name] for name in order}


def _hooked(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)


def _feature_layers(spec: VGGSpec) -> Iterator[nn.Module]:
    channels, side = 3, spec.image_size
    for block in spec.blocks:
        for width in block:
            convolution = SmallMapConv2d if side <= SMALL_MAP and min(channels, width) >= WIDE else nn.Conv2d
            yield convolution(channels, width, kernel_size=3, padding=1)
            if spec.batch_norm:
                yield nn.BatchNorm2d(width)
            yield nn.ReLU()
            channels = width
        yield nn.MaxPool2d(kernel_size=2, stride=2)
        side //= 2


def _classifier_layers(spec: VGGSpec) -> Iterator[nn.Module]:
    inputs = spec.features[-1] * spec.grid**2
    for width in spec.hidden:
        yield nn.Linear(inputs, width)
        yield nn.ReLU()
        yield nn.Dropout(spec.dropout)
        inputs = width
    yield nn.Linear(inputs, spec.classes)


def _initialise_(model: VGG) -> None:
    *hidden, last = prunable_layers(model).values()
    for layer in hidden:
        mode: Literal["fan_in", "fan_out"] = "fan_out" if isinstance(layer, nn.Conv2d) else "fan_in"
        nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
    with torch.no_grad():
        for layer in hidden[1:]:
            if isinstance(layer, nn.Conv2d):  # nearly copies: an exact zero is what pruning leaves
                drawn = layer.weight[: layer.in_channels].clone()
                nn.init.dirac_(layer.weight[: layer.in_channels]).add_(drawn, alpha=COPY_NOISE)
    nn.init.normal_(last.weight, 0, 0.01)
    for layer in (*hidden, last):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


# What layers inside a model give, by forward hooks that are removed when the block ends.


@contextmanager
def tap(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collect by name what layers give, not detached: in the last forward pass; nothing before the first.

        with tap(model, ["features.7"]) as outputs:
            logits = model(images)
        outputs["features.7"]

    A UserError if a layer does not exist; it lists those that do.
    """
    layers = dict(model.named_modules())
    outputs: dict[str, Tensor] = {}

    def keep(name: str, layer: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs[name] = output

    with ExitStack() as hooks:
        for name in names:
            if not name or name not in layers:
                leaves = [there for there, layer in layers.items() if not list(layer.children())]
                raise UserError(f"layer {name!r} does not exist; there are {', '.join(leaves)}")
            hooks.enter_context(layers[name].register_forward_hook(partial(keep, name)))
        yield outputs


class _Reached(Exception):  # noqa: N818 (no error)
    """Ends a forward pass whose rest nobody needs."""


def outputs_of(model: nn.Module, names: Iterable[str], images: Tensor) -> dict[str, Tensor]:
    """What the named layers give for some images; what would run behind the last of them does not run."""
    wanted = set(names)

    def stop(*_: Any) -> None:
        if outputs.keys() == wanted:
            raise _Reached

    with tap(model, wanted) as outputs, ExitStack() as hooks, suppress(_Reached):
        for name in wanted:
            hooks.enter_context(model.get_submodule(name).register_forward_hook(stop))
        model(images)
    return outputs


def input_of(model: nn.Module, layer: nn.Module, images: Tensor) -> Tensor:
    """What one of a model's layers is given for some images; what would run from there on does not run."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        seen.extend([*given, *named.values()])
        raise _Reached

    with layer.register_forward_pre_hook(stop, with_kwargs=True), suppress(_Reached):
        model(images)
    return seen[0]
