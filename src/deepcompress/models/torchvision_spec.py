"""Say which of torchvision's networks is meant, and what a checkpoint records of one whose channels were removed.

Free of torch, so that planning can read it; a test holds the names equal to what torchvision has. Left out are
networks that some step cannot run: transformers and ConvNeXt (no maps of convolutions and batch norms), GoogLeNet and
Inception (several answers in training), AlexNet (needs 63 px), RegNet (cannot be built without memory), ShuffleNet
(Torch-Pruning cannot follow its shuffled channels) and MNASNet (takes no state dict without its version).
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from deepcompress.errors import UserError
from deepcompress.models.checks import LEAST_IMAGE_SIZE, MAX_IMAGE_SIZE, MAX_WIDTH, fields_of, require_whole

FAMILIES: dict[str, tuple[str, ...]] = {
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

NAMES: tuple[str, ...] = tuple(name for names in FAMILIES.values() for name in names)
SIZES = (1, 2, 3)
"""How many numbers a layer has: features; outputs and inputs; outputs, inputs and groups."""


@dataclasses.dataclass(frozen=True)
class TorchvisionSpec:
    """Every number needed to build one of torchvision's networks.

    Attributes:
        arch: One of NAMES.
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
        if self.arch not in NAMES:
            raise UserError(f"arch must be one of {', '.join(NAMES)}, got {self.arch!r}")
        require_whole("classes", self.classes, 1, MAX_WIDTH)
        require_whole("image_size", self.image_size, LEAST_IMAGE_SIZE, MAX_IMAGE_SIZE)
        for name, sizes in self.widths:
            if len(sizes) not in SIZES:
                raise UserError(f"widths of {name} must be 1 to 3 whole numbers, got {sizes!r}")
            for size in sizes:
                require_whole(f"widths of {name}", size, 1, MAX_WIDTH)

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
        widths = fields_of(cls, values)["widths"]
        if not isinstance(widths, dict) or not all(isinstance(sizes, list) for sizes in widths.values()):
            raise UserError(f"widths must be lists of whole numbers by layer, got {widths!r}")
        return cls(**(values | {"widths": tuple((name, tuple(sizes)) for name, sizes in widths.items())}))


def near(arch: str, known: tuple[str, ...]) -> str:
    """What to say of a name that is not there: the names like it, or all."""
    close = difflib.get_close_matches(arch, known, n=3)
    if close:
        return f"did you mean {', '.join(close)}?"
    return f"there are {', '.join(known)}"
