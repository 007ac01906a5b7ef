"""What every spec checks of the plain values that a checkpoint's description holds."""

from __future__ import annotations

import dataclasses
from typing import Any

from deepcompress.errors import UserError

MAX_WIDTH = 1_000_000
LEAST_IMAGE_SIZE, MAX_IMAGE_SIZE = 32, 4096
"""Bounds that keep a damaged description from asking for more elements than an int64 counts."""


def fields_of(spec: type, values: Any) -> dict[str, Any]:
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


def require_whole(name: str, value: Any, lowest: int, highest: int) -> None:
    """Refuse what is no whole number in a range; the message names the field."""
    if type(value) is not int or not lowest <= value <= highest:
        raise UserError(f"{name} must be a whole number in {lowest}..{highest}, got {value!r}")
