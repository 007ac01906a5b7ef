"""The `data` section of params.yaml: which source, at which size, and how much of it is for validation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from deepcompress import registry
from deepcompress.data.budget import DEFAULT_MIB
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
        device_budget_mib: What the images of one part (training, validation, held-out) may take in the memory of the
            device that computes [MiB]; above it they stay in their file. No result depends on it; see budget.py.
    """

    plugins: ClassVar[str] = PLUGINS
    source: Annotated[str, AfterValidator(_known)]
    stored_size: int = Field(ge=8, le=1024)
    validation_fraction: float = Field(gt=0, lt=1)
    device_budget_mib: int = Field(default=DEFAULT_MIB, ge=0)
