"""Say which network is meant: the `model` section of params.yaml, and every number of a network in a checkpoint.

Free of torch, so that planning and reporting can read it. A pruned network is a spec of smaller widths. A network is a
VGG, or one of torchvision's; a test holds their names equal to what torchvision has. Left out are those that some step
cannot run: transformers and ConvNeXt (no maps of convolutions and batch norms), GoogLeNet and Inception (several
outputs in training), AlexNet (needs 63 px), RegNet (cannot be built without memory), ShuffleNet (Torch-Pruning cannot
follow its shuffled channels) and MNASNet (takes no state dict without its version).
Source: Simonyan and Zisserman, ICLR 2015, https://arxiv.org/abs/1409.1556, table 1 (columns A, B, D and E).
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from typing import Any

from pydantic import Field, field_validator, model_validator

from deepcompress.errors import UserError
from deepcompress.params import Section

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
SIZES = (1, 2, 3)  # numbers of a layer: features; outputs and inputs; outputs, inputs and groups
MAX_WIDTH = 1_000_000
LEAST_IMAGE_SIZE, MAX_IMAGE_SIZE = 32, 4096
"""Bounds that keep a damaged description from asking for more elements than an int64 counts."""
IMAGENET = "imagenet"
SHRINK = 32
"""Five poolings halve the side of the image five times."""


class Model(Section):
    """The `model` section.

    `width` multiplies every width of a VGG: those of the convolutions and `hidden`, the two hidden linear layers'.
    These two, `batch_norm` and `dropout` are null for any other network, which comes as torchvision makes it.
    """

    arch: str
    batch_norm: bool | None = Field(...)
    width: float | None = Field(gt=0, le=4)
    hidden: int | None = Field(ge=1, le=65536)
    dropout: float | None = Field(ge=0, lt=1)
    image_size: int = Field(ge=LEAST_IMAGE_SIZE, le=1024)
    weights: str | None = Field(default=None, min_length=1)

    @field_validator("arch")
    @classmethod
    def _known(cls, arch: str) -> str:
        known = (*BLOCKS, *TORCHVISION_NAMES)
        if arch not in known:
            raise ValueError(f"no step knows a network {arch!r}; {_near(arch, known)}")
        return arch

    @model_validator(mode="after")
    def _own_keys(self) -> Model:
        own = {key: getattr(self, key) for key in ("batch_norm", "width", "hidden", "dropout")}
        if self.arch in BLOCKS:
            missing = [key for key, value in own.items() if value is None]
            if missing:
                raise ValueError(f"{missing[0]} must have a value for {self.arch}, got null")
            return self
        given = [f"{key} ({value})" for key, value in own.items() if value is not None]
        if given:
            raise ValueError(
                f"{', '.join(given)} must be null for {self.arch}, which comes as torchvision makes it; "
                "only a VGG has these keys"
            )
        return self

    @model_validator(mode="after")
    def _as_the_weights(self) -> Model:
        if self.arch not in BLOCKS or self.weights != IMAGENET:
            return self
        if (self.width, self.hidden, self.image_size) != (1, 4096, 224):
            got = f"{self.width:g}, {self.hidden} and {self.image_size}"
            raise ValueError(f"weights: imagenet needs width 1, hidden 4096 and image_size 224, got {got}")
        return self


@dataclasses.dataclass(frozen=True)
class VGGSpec:
    """Every number needed to build one VGG.

    Attributes:
        arch: A key of BLOCKS; it says after which convolutions the map is pooled.
        batch_norm: Whether a batch norm follows each convolution.
        features: Width of each convolution, in order.
        hidden: Widths of the two hidden linear layers.
        classes: Number of logits.
        image_size: Side of the square input, px.
        dropout: Probability behind each hidden layer.

    Raises:
        UserError: If a value is of the wrong type or out of range; it names the field.
    """

    arch: str
    batch_norm: bool
    features: tuple[int, ...]
    hidden: tuple[int, ...]
    classes: int
    image_size: int
    dropout: float

    def __post_init__(self) -> None:
        if not isinstance(self.arch, str) or self.arch not in BLOCKS:
            raise UserError(f"arch must be one of {', '.join(BLOCKS)}, got {self.arch!r}")
        if not isinstance(self.batch_norm, bool):
            raise UserError(f"batch_norm must be true or false, got {self.batch_norm!r}")
        _check_widths("features", self.features, sum(map(len, BLOCKS[self.arch])))
        _check_widths("hidden", self.hidden, 2)
        _require_whole("classes", self.classes, 1, MAX_WIDTH)
        _require_whole("image_size", self.image_size, LEAST_IMAGE_SIZE, MAX_IMAGE_SIZE)
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout < 1:
            raise UserError(f"dropout must be a number in [0, 1), got {self.dropout!r}")

    @property
    def grid(self) -> int:
        """Side of the pooled feature map: 7 at 224 px, 1 at 32 px."""
        return self.image_size // SHRINK

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The convolution widths, grouped by the pooling that follows them."""
        widths = iter(self.features)
        return tuple(tuple(itertools.islice(widths, len(block))) for block in BLOCKS[self.arch])

    @classmethod
    def from_model_section(cls, model: Model, classes: int) -> VGGSpec:
        """The VGG that the `model` section of params.yaml asks for, unpruned."""
        width, hidden, dropout = model.width, model.hidden, model.dropout
        assert width is not None
        assert hidden is not None
        assert dropout is not None
        return cls(
            arch=model.arch,
            batch_norm=bool(model.batch_norm),
            features=tuple(_scaled(width, full) for block in BLOCKS[model.arch] for full in block),
            hidden=(_scaled(width, hidden),) * 2,
            classes=classes,
            image_size=model.image_size,
            dropout=float(dropout),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one per field."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Any) -> VGGSpec:
        """The inverse of to_dict.

        Raises:
            UserError: If `values` is no mapping, lacks a field, has one too many, or holds a bad value.
        """
        arguments: dict[str, Any] = {name: _tupled(value) for name, value in _fields_of(cls, values).items()}
        return cls(**arguments)


@dataclasses.dataclass(frozen=True)
class TorchvisionSpec:
    """Every number needed to build one of torchvision's networks.

    Attributes:
        arch: One of TORCHVISION_NAMES.
        classes: Number of logits.
        image_size: Side of the square input, px.
        widths: Per layer that no longer has torchvision's size: (features,) of a batch norm, (outputs, inputs) of a
            linear layer, (outputs, inputs, groups) of a convolution. Empty for an unpruned network.

    Raises:
        UserError: If a value is of the wrong type or out of range; it names the field.
    """

    arch: str
    classes: int
    image_size: int
    widths: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        if self.arch not in TORCHVISION_NAMES:
            raise UserError(f"arch must be one of {', '.join(TORCHVISION_NAMES)}, got {self.arch!r}")
        _require_whole("classes", self.classes, 1, MAX_WIDTH)
        _require_whole("image_size", self.image_size, LEAST_IMAGE_SIZE, MAX_IMAGE_SIZE)
        for name, sizes in self.widths:
            if len(sizes) not in SIZES:
                raise UserError(f"widths of {name} must be 1 to 3 whole numbers, got {sizes!r}")
            for size in sizes:
                _require_whole(f"widths of {name}", size, 1, MAX_WIDTH)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one per field."""
        widths = {name: list(sizes) for name, sizes in self.widths}
        return {"arch": self.arch, "classes": self.classes, "image_size": self.image_size, "widths": widths}

    @classmethod
    def from_dict(cls, values: Any) -> TorchvisionSpec:
        """The inverse of to_dict.

        Raises:
            UserError: If `values` is no mapping, lacks a field, has one too many, or holds a bad value.
        """
        widths = _fields_of(cls, values)["widths"]
        if not isinstance(widths, dict) or not all(isinstance(sizes, list) for sizes in widths.values()):
            raise UserError(f"widths must be lists of whole numbers by layer, got {widths!r}")
        return cls(**(values | {"widths": tuple((name, tuple(sizes)) for name, sizes in widths.items())}))


Spec = VGGSpec | TorchvisionSpec
FAMILIES: dict[str, type[VGGSpec] | type[TorchvisionSpec]] = {"vgg": VGGSpec, "torchvision": TorchvisionSpec}
"""Kind of network -> the spec of it, as a checkpoint's description names them."""


def asked(model: Model, classes: int) -> Spec:
    """The network that the `model` section of params.yaml asks for, unpruned."""
    if model.arch in BLOCKS:
        return VGGSpec.from_model_section(model, classes)
    return TorchvisionSpec(model.arch, classes, model.image_size)


def family(spec: Spec) -> str:
    """A key of FAMILIES."""
    return next(name for name, kind in FAMILIES.items() if type(spec) is kind)


def _near(arch: str, known: tuple[str, ...]) -> str:
    """What to say of a name that is not there: the names like it, or all."""
    close = difflib.get_close_matches(arch, known, n=3)
    if close:
        return f"did you mean {', '.join(close)}?"
    return f"there are {', '.join(known)}"


def _fields_of(spec: type, values: Any) -> dict[str, Any]:
    """The values, once they are a mapping with a value for each field of a dataclass and no other.

    Raises:
        UserError: If they are not.
    """
    fields = [field.name for field in dataclasses.fields(spec)]
    if not isinstance(values, dict):
        raise UserError(f"spec must be a mapping, got {type(values).__name__}")
    if set(values) != set(fields):
        raise UserError(f"spec must have the keys {', '.join(fields)}; got {', '.join(map(str, values))}")
    return values


def _require_whole(name: str, value: Any, lowest: int, highest: int) -> None:
    """Refuse what is no whole number in a range; the message names the field."""
    if type(value) is not int or not lowest <= value <= highest:
        raise UserError(f"{name} must be a whole number in {lowest}..{highest}, got {value!r}")


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _scaled(factor: float, width: int) -> int:
    return max(1, round(factor * width))


def _check_widths(name: str, widths: Any, count: int) -> None:
    if not isinstance(widths, tuple) or len(widths) != count:
        raise UserError(f"{name} must be {count} widths, got {widths!r}")
    for width in widths:
        _require_whole(name, width, 1, MAX_WIDTH)
