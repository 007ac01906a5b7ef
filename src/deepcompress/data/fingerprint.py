"""A cheap sign of whether the user's own images are still what they were, so that DVC sees when they change.

DVC watches what lies in the repository; images lie anywhere, and hashing them at every run would take minutes. Names,
sizes and times of the files take milliseconds. A data source that reads files of the user's says which by a function
`inputs`, of its options.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from deepcompress import registry
from deepcompress.data.kinds import is_litter
from deepcompress.data.store import DataConfig
from deepcompress.errors import UserError

NOTHING = "none"
DIGITS = 16


def fingerprint(data: DataConfig, before: str = NOTHING) -> str:
    """Of the files that the data source reads; NOTHING if it reads none of the user's.

    Args:
        data: The `data` section.
        before: What it was at the last run. It holds on where the images are gone, as in a clone that has what was made
            of them from a remote.

    Raises:
        UserError: If the images are not there, and never were.
    """
    paths = inputs(data)
    if not paths:
        return NOTHING
    asked = hashlib.sha256(f"{data.source} {data.options(data.source).model_dump_json()}".encode()).hexdigest()[:DIGITS]
    digest = hashlib.sha256()
    try:
        for path in paths:
            for file, state in _states(path):
                digest.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    except FileNotFoundError as error:
        if before.startswith(asked):
            return before
        raise UserError(f"params.yaml: data.{data.source}: {error.filename}: no such file or folder") from None
    return f"{asked}-{digest.hexdigest()[:DIGITS]}"


def inputs(data: DataConfig) -> list[Path]:
    """The files and folders of the user's that the data source reads: an archive, a folder, a table and what it names.

    Raises:
        UserError: If params.yaml does not say where they are, or a table is damaged.
    """
    source = registry.find(data.plugins, data.source)
    return list(source.inputs(data.options(data.source))) if hasattr(source, "inputs") else []


def _states(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Each file that counts at or below a path, by its name below it, and what the system knows of it."""
    if not path.is_dir():
        yield path.name, path.stat()
        return
    seen = set()
    for place, folders, names in os.walk(path, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if os.path.realpath(os.path.join(place, name)) not in seen)
        for name in sorted(names):
            inside = os.path.relpath(os.path.join(place, name), path).replace(os.sep, "/")
            if not is_litter(inside):
                file = os.path.join(place, name)
                yield inside, os.stat(file) if os.path.exists(file) else os.lstat(file)
