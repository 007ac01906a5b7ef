"""The JSON description in a checkpoint's header: its schema, and what it must agree on with itself.

Free of torch, like the spec that it carries. A change that older code cannot read raises FORMAT_VERSION.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.models.spec import FAMILIES

if TYPE_CHECKING:
    from pathlib import Path

    from deepcompress.models.spec import Spec

METADATA_KEY = "description"
FORMAT_VERSION: Literal[1] = 1

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Description(params.Section):
    """What the header says about the tensors; see `checkpoint.save` for the fields."""

    format_version: Literal[1]
    family: Literal["vgg", "torchvision"]
    spec: dict[str, Any]
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]
    encodings: dict[str, str]
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, one per field."""
        return self.model_dump(mode="json")

    def to_metadata(self) -> dict[str, str]:
        """The header's metadata; keys are sorted, so that equal descriptions give equal bytes."""
        return {METADATA_KEY: json.dumps(self.to_dict(), sort_keys=True, allow_nan=False)}

    def network_spec(self) -> Spec:
        """The network, checked against the class names and the image size.

        Raises:
            UserError: If they disagree, or the spec itself is refused.
        """
        spec = FAMILIES[self.family].from_dict(self.spec)
        if len(self.classes) != spec.classes:
            raise UserError(f"{len(self.classes)} class names for {spec.classes} classes")
        if self.image_size != spec.image_size:
            raise UserError(f"images of {self.image_size} px for a model of {spec.image_size} px")
        return spec


def from_metadata(path: str | Path, metadata: dict[str, str] | None) -> Description:
    """Read the header's metadata.

    Raises:
        UserError: If there is no description, or it is damaged, of another format version, or lacks a field.
    """
    try:
        block = json.loads((metadata or {})[METADATA_KEY])
    except KeyError:
        raise UserError(f"{path}: no deepcompress checkpoint (its header has no description)") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: the description in the header is damaged") from None
    return params.validate(Description, block, METADATA_KEY, path)
