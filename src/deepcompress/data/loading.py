"""Ask a data source for its images, and refuse what would be stored as something else."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from deepcompress import params
from deepcompress.data.store import DataConfig, Part, Source
from deepcompress.errors import UserError, require_array

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


def load(data: DataConfig, workspace: Path) -> Source:
    """What the source of the `data` section gives; its images are looked at as they are read.

    Raises:
        UserError: If it gives no `Source`, or a label or an image that is none of this section.
    """
    plugin, options = params.plugin(data.plugins, data.source, "data.source"), data.options(data.source)
    source = plugin.load(options, stored_size=data.stored_size, seed=data.seed, workspace=workspace)
    if not isinstance(source, Source) or not {"source", "checksum"} <= {*source.origin}:
        raise UserError(f"data source {data.source} must give a Source whose origin names source and checksum")
    if len({name for name in source.classes if isinstance(name, str)}) < len(source.classes):
        raise UserError(f"data source {data.source}: classes must be different names, got {source.classes}")
    return dataclasses.replace(
        source,
        train=_checked(source.train, "train", source, data),
        test=source.test and _checked(source.test, "test", source, data),
        validation=source.validation and _checked(source.validation, "validation", source, data),
    )


def _checked(part: Part, name: str, source: Source, data: DataConfig) -> Part:
    where, most = f"data source {data.source}: {name}", len(source.classes) - 1
    require_array(f"{where}: the labels", part.labels, (len(part),), "int")
    for outside in part.labels[(part.labels < 0) | (part.labels > most)]:
        raise UserError(f"{where}: the labels must be from 0 to {most}, got {outside}")

    def read(index: int) -> np.ndarray:
        image = part.read(index)
        require_array(f"{where}: image {index}", image, (data.stored_size, data.stored_size, 3), "uint8")
        return image

    return Part(part.labels, read)
