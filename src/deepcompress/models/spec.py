"""Say which network is meant: the `model` section of params.yaml, and every number of a network in a checkpoint.

Free of torch, so that planning and reporting can read it. A pruned network is a spec of smaller widths. A network is a
VGG, or one that is known by its graph: of torchvision, of timm, or the user's own. Of torchvision's (a test holds their
names equal to what it has) those are left out that some step cannot run: transformers and ConvNeXt (no maps of
convolutions and batch norms), GoogLeNet and Inception (several outputs in training), AlexNet (needs 63 px), RegNet
(cannot be built without memory), ShuffleNet (Torch-Pruning cannot follow its shuffled channels) and MNASNet (takes no
state dict without its version).
Source: Simonyan and Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556, table 1 (columns A, B, D and E).
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import itertools
import json
import re
import sys
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from deepcompress.errors import UserError
from deepcompress.params import Section, shown

BLOCKS: dict[str, tuple[tuple[int, ...], ...]] = {
    "vgg11": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "vgg13": ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    "vgg16": ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    "vgg19": ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}
"""Convolution widths per architecture; a 2x2 max-pooling ends every block."""

TORCHVISION: dict[str, tuple[str, ...]] = {
    "resnet": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "wide_resnet": ("wide_resnet50_2", "wide_resnet101_2"),
    "resnext": ("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
    "mobilenet": ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    "efficientnet": (
        *(f"efficientnet_b{number}" for number in range(8)),
        *(f"efficientnet_v2_{size}" for size in "sml"),
    ),
    "densenet": ("densenet121", "densenet161", "densenet169", "densenet201"),
    "squeezenet": ("squeezenet1_0", "squeezenet1_1"),
}
"""Names of torchvision.models by family."""

TORCHVISION_NAMES: tuple[str, ...] = tuple(name for names in TORCHVISION.values() for name in names)
TIMM = re.compile(r"timm:([\w.-]+)")
OWN = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")  # package.module:function
MAX_WIDTH = 1_000_000
LEAST_IMAGE_SIZE, MAX_IMAGE_SIZE = 32, 4096
"""Bounds that keep a damaged description from asking for more elements than an int64 counts."""
IMAGENET = "imagenet"
FEATURES = "features"  # the role of the last layer before the classifier
SHRINK = 32
"""Five poolings halve the side of the image five times."""


def library(arch: str) -> Literal["vgg", "torchvision", "timm", "own"]:
    """Where a network comes from; a ValueError if there is none of this name, or what it needs is not installed.

    Whether timm knows the name and whether the user's function is there, building shows; see build.py.
    """
    if arch in BLOCKS:
        return "vgg"
    if arch in TORCHVISION_NAMES:
        return "torchvision"
    if TIMM.fullmatch(arch):
        if importlib.util.find_spec("timm") is None:
            raise ValueError(f"{arch} needs timm, which is not installed; install it by: uv sync --group timm")
        return "timm"
    file, _, function = arch.rpartition(":")
    if file.endswith(".py"):
        module = ".".join(PurePath(file.removesuffix(".py")).parts)
        raise ValueError(f"{arch}: a module is named, not its file; write {module}:{function}")
    own = OWN.fullmatch(arch)
    if own and own[1].partition(".")[0] not in sys.stdlib_module_names:
        return "own"
    if own:
        raise ValueError(f"{arch}: {own[1]} is a module of Python's own; name a function of yours that makes a network")
    known = (*BLOCKS, *TORCHVISION_NAMES)
    close = difflib.get_close_matches(arch, known, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(known)}"
    raise ValueError(f"no step knows a network {arch!r}; {hint} Or timm:NAME, or your own package.module:function")


Arch = Annotated[str, AfterValidator(lambda arch: arch if library(arch) else None)]


class Model(Section):
    """The `model` section.

    `width` multiplies every width of a VGG: those of the convolutions and `hidden`, the two hidden linear layers'.
    These two, `batch_norm` and `dropout` are null for any other network, which comes as its library makes it.
    """

    arch: Arch
    batch_norm: bool | None = Field(...)
    width: float | None = Field(gt=0, le=4)
    hidden: int | None = Field(ge=1, le=65536)
    dropout: float | None = Field(ge=0, lt=1)
    image_size: int = Field(ge=LEAST_IMAGE_SIZE, le=1024)
    weights: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _own_keys(self) -> Model:
        own = {key: getattr(self, key) for key in ("batch_norm", "width", "hidden", "dropout")}
        if self.arch in BLOCKS:
            for key in own:
                if own[key] is None:
                    raise ValueError(f"{key} must have a value for {self.arch}, got null")
        elif given := [f"{key} ({value})" for key, value in own.items() if value is not None]:
            raise ValueError(
                f"{', '.join(given)} must be null for {self.arch}, which comes as its library makes it; "
                "only a VGG has these keys"
            )
        return self

    @model_validator(mode="after")
    def _as_the_weights(self) -> Model:
        if self.weights != IMAGENET:
            return self
        if library(self.arch) == "own":
            raise ValueError(f"weights: imagenet are there for networks of a library; {self.arch} needs a file's path")
        if self.arch in BLOCKS and (self.width, self.hidden, self.image_size) != (1, 4096, 224):
            got = f"{self.width:g}, {self.hidden} and {self.image_size}"
            raise ValueError(f"weights: imagenet needs width 1, hidden 4096 and image_size 224, got {got}")
        return self


Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
ImageSize = Annotated[int, Field(ge=LEAST_IMAGE_SIZE, le=MAX_IMAGE_SIZE)]
STRICT = pydantic.ConfigDict(strict=True, extra="forbid")


class _Plain:
    """To plain JSON values and back."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one per field."""
        return dict(pydantic.TypeAdapter(type(self)).dump_python(self, mode="json"))

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The inverse of to_dict; a UserError names a field that is missing, unknown or holds a bad value."""
        if not isinstance(values, dict):
            raise UserError(f"spec must be a mapping, got {type(values).__name__}")
        try:
            return pydantic.TypeAdapter(cls).validate_json(json.dumps(values))
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            where, what = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
            raise UserError(f"spec: {where}: {what}, got {shown(problem['input'])}") from None


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class VGGSpec(_Plain):
    """Every number needed to build one VGG; a ValueError if one is of the wrong type or out of range."""

    # A key of BLOCKS; it says after which convolutions the map is pooled.
    arch: Literal["vgg11", "vgg13", "vgg16", "vgg19"]
    batch_norm: bool  # whether a batch norm follows each convolution
    features: tuple[Width, ...]  # width of each convolution, in order
    hidden: tuple[Width, Width]  # widths of the two hidden linear layers
    classes: Width  # number of logits
    image_size: ImageSize  # side of the square input, px
    dropout: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]  # probability behind each hidden layer

    @field_validator("features")
    @classmethod
    def _each_convolution(cls, features: tuple[int, ...], info: pydantic.ValidationInfo) -> tuple[int, ...]:
        count = sum(map(len, BLOCKS[info.data["arch"]])) if "arch" in info.data else len(features)
        if len(features) != count:
            raise ValueError(f"must be {count} widths")
        return features

    @property
    def grid(self) -> int:
        """Side of the pooled feature map: 7 at 224 px, 1 at 32 px."""
        return self.image_size // SHRINK

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The convolution widths, grouped by the pooling that follows them."""
        widths = iter(self.features)
        return tuple(tuple(itertools.islice(widths, len(block))) for block in BLOCKS[self.arch])


def _items(widths: Any) -> Any:
    """JSON's mapping as the pairs that a spec keeps, so that it can be hashed."""
    if not isinstance(widths, dict):
        return widths
    return tuple((name, tuple(sizes) if isinstance(sizes, list) else sizes) for name, sizes in widths.items())


Sizes = Annotated[tuple[Width, ...], Field(min_length=1, max_length=3)]
Widths = Annotated[
    tuple[tuple[str, Sizes], ...],
    BeforeValidator(_items),
    pydantic.PlainSerializer(lambda widths: {name: list(sizes) for name, sizes in widths}),
]


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class GraphSpec(_Plain):
    """Every number needed to build a network of a library or of the user, checked as those of a VGG are."""

    arch: Arch  # as `model.arch` names it; not a VGG
    classes: Width  # number of logits
    image_size: ImageSize  # side of the square input, px
    # Per layer that no longer has its full size: (features,) of a batch norm, (outputs, inputs) of a linear layer,
    # (outputs, inputs, groups) of a convolution. Empty for an unpruned network.
    widths: Widths = ()

    @field_validator("arch")
    @classmethod
    def _no_vgg(cls, arch: str) -> str:
        if arch in BLOCKS:
            raise ValueError("a VGG has a spec of its own")
        return arch


Spec = VGGSpec | GraphSpec
FAMILIES: dict[str, type[VGGSpec] | type[GraphSpec]] = {"vgg": VGGSpec, "graph": GraphSpec}
"""Kind of network -> the spec of it, as a checkpoint's description names them."""


def asked(model: Model, classes: int) -> Spec:
    """The network that the `model` section of params.yaml asks for, unpruned."""
    if model.arch not in BLOCKS:
        return GraphSpec(model.arch, classes, model.image_size)
    vgg: Any = model  # whose keys all have values

    def scaled(width: int) -> int:
        return max(1, round(vgg.width * width))

    return VGGSpec(
        arch=vgg.arch,
        batch_norm=vgg.batch_norm,
        features=tuple(scaled(width) for block in BLOCKS[vgg.arch] for width in block),
        hidden=(scaled(vgg.hidden),) * 2,
        classes=classes,
        image_size=vgg.image_size,
        dropout=float(vgg.dropout),
    )


def dense(spec: Spec) -> Spec:
    """The same network with all its channels."""
    return spec if isinstance(spec, VGGSpec) else dataclasses.replace(spec, widths=())


# Names of layers by their part in the network, so that VGGs of other depth or with batch norm have the same ones.
#
# `features.11` is the first convolution of block 4 in a plain VGG-11, a ReLU in a plain VGG-19 and a batch norm in a
# VGG-16 with batch norm; `block4.conv1` is the same in all. A block ends at its max-pooling. Other networks have blocks
# of the same sizes, but no roles for the layers in them: see build.py.


def layer_name(spec: Spec, role: str) -> str:
    """The name of a layer, as in `named_modules`; a UserError lists what there is if there is no such layer.

    A role is `block4.conv1`, `block4.norm1` or `block4.relu1`, counted from 1, or `block4.pool`; `block4` is its last
    ReLU, or the last layer of that size in another network. `features` is the last layer before the classifier. A name
    such as `features.11` is its own answer, if there is such a layer.
    """
    if isinstance(spec, GraphSpec):
        from deepcompress.models import build  # which needs torch

        names, layers = build.roles(spec), set(build.trace(spec).outputs)
    else:
        names = vgg_roles(spec)
        layers = {*names.values(), FEATURES}
    if role in names:
        return names[role]
    if role in layers:
        return role
    there = ", ".join(f"{name} ({layer})" for name, layer in names.items())
    raise UserError(f"layer {role!r} does not exist in a {spec.arch}; there are {there}")


def has_layer(spec: Spec, role: str) -> bool:
    """Whether there is such a layer."""
    try:
        return bool(layer_name(spec, role))
    except UserError:
        return False


def vgg_roles(spec: VGGSpec) -> dict[str, str]:
    """Layer name of every role of the convolutional part, in forward order."""
    found, names = {}, (f"features.{index}" for index in itertools.count())
    for block, widths in enumerate(spec.blocks, 1):
        kinds = ("conv", "norm", "relu") if spec.batch_norm else ("conv", "relu")
        for number, kind in itertools.product(range(1, len(widths) + 1), kinds):
            last = found[f"block{block}.{kind}{number}"] = next(names)
        found[f"block{block}"], found[f"block{block}.pool"] = last, next(names)
    return found


def side(image_size: int, block: int) -> int:
    """Height and width of the maps in a block, counted from 1, before its pooling [px]."""
    return image_size // 2 ** (block - 1)


def deepest_blocks(image_size: int) -> tuple[str, ...]:
    """The two deepest blocks whose maps still have a shape to compare, 4 px or more; the shallower first.

    At 32 px these are block 3 (8 x 8) and block 4 (4 x 4); at 224 px blocks 4 (28 x 28) and 5 (14 x 14).
    """
    large = [block for block in range(1, 6) if side(image_size, block) >= 4]
    return tuple(f"block{block}" for block in large[-2:])


def vgg_maps(spec: VGGSpec) -> dict[str, tuple[int, int, int]]:
    """(channels, height, width) of what every layer of the convolutional part gives; no image is needed to know it."""
    layers_per_width = 3 if spec.batch_norm else 2  # convolution, batch norm, ReLU
    maps = []
    for block, widths in enumerate(spec.blocks, 1):
        before, pooled = side(spec.image_size, block), side(spec.image_size, block + 1)
        maps += [(width, before, before) for width in widths for _ in range(layers_per_width)]
        maps.append((widths[-1], pooled, pooled))
    return {f"features.{index}": shape for index, shape in enumerate(maps)} | {FEATURES: maps[-1]}
