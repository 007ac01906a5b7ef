"""A network and its training: each block of the `teachers` section of params.yaml, and the student.

Apart from the `distill` section, so that a change there leaves the teachers as they are. Free of torch.
"""

from __future__ import annotations

import re

import pydantic
from pydantic import model_validator

from deepcompress import params
from deepcompress.models.spec import Model
from deepcompress.params import Section
from deepcompress.training.recipe import Recipe

NAME = re.compile(r"[a-z0-9_]+")


class Network(Model):
    """A network and how it is trained: the keys of the `model` section, and `recipe`."""

    recipe: Recipe


class Teachers(Section):
    """The `teachers` section: a network under each teacher's name."""

    model_config = pydantic.ConfigDict(frozen=True, strict=True, extra="allow")

    @model_validator(mode="after")
    def _networks(self) -> Teachers:
        for name, block in (self.model_extra or {}).items():
            require_name(name)
            params.validate(Network, block, f"teachers.{name}")
        return self

    def names(self) -> list[str]:
        """In the order of the file."""
        return list(self.model_extra or {})


def require_name(name: str) -> None:
    """Refuse a name that could not be part of a model's id `<method>-<teacher>` with a ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name; use small letters, digits and _")
