"""The `data` section of params.yaml: which source, at which size, and how much of it is for validation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from deepcompress import registry
from deepcompress.params import PluginSection

PLUGINS = "data.sources"


def _known(source: str) -> str:
    names = registry.names(PLUGINS)
    if source not in names:
        raise ValueError(f"must be one of {', '.join(names)}; got {source!r}")
    return source


class Data(PluginSection):
    """The `data` section, with one block per source.

    Attributes:
        source: A file in data/sources.
        stored_size: Images are stored as squares of this side, pixels.
        validation_fraction: Share of each class's training images that choices are made on.
    """

    plugins: ClassVar[str] = PLUGINS
    source: Annotated[str, AfterValidator(_known)]
    stored_size: int = Field(ge=8, le=1024)
    validation_fraction: float = Field(gt=0, lt=1)
