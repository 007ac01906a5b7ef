"""Ask a data source for its images, and refuse what would be stored as something else."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from deepcompress import params
from deepcompress.data.store import Part, Source
from deepcompress.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from deepcompress.data.store import DataConfig


def load(data: DataConfig, workspace: Path) -> Source:
    """What the source of the `data` section gives; its images are looked at as they are read.

    Raises:
        UserError: If it gives no `Source`, or a label or an image that is none of this section.
    """
    plugin, options = params.plugin(data.plugins, data.source, "data.source"), data.options(data.source)
    source = plugin.load(options, stored_size=data.stored_size, seed=data.seed, workspace=workspace)
    if not isinstance(source, Source) or not {"source", "checksum"} <= {*source.origin}:
        raise UserError(f"data source {data.source} must give a Source whose origin names source and checksum")
    return dataclasses.replace(
        source,
        train=_checked(source.train, "train", source, data),
        test=source.test and _checked(source.test, "test", source, data),
        validation=source.validation and _checked(source.validation, "validation", source, data),
    )


def _checked(part: Part, name: str, source: Source, data: DataConfig) -> Part:
    where, labels, last = f"data source {data.source}: {name}", np.asarray(part.labels), len(source.classes) - 1
    whole = labels.ndim == 1 and labels.dtype.kind in "iu"
    outside = labels[(labels < 0) | (labels > last)] if whole else labels.ravel()
    if not whole or outside.size:
        got = f"{outside[0] if outside.size else 'none'} ({labels.dtype} {labels.shape})"
        raise UserError(f"{where}: labels must be whole numbers from 0 to {last}, got {got}")
    shape = (data.stored_size, data.stored_size, 3)

    def read(index: int) -> np.ndarray:
        image = np.asarray(part.read(index))
        if image.shape != shape or image.dtype != np.uint8:
            raise UserError(f"{where}: image {index} must be uint8 {shape}, got {image.dtype} {image.shape}")
        return image

    return Part(labels, read)
