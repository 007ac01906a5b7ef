"""What params.yaml calls for: every section checked before any work starts, and the ids of all models to come."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deepcompress import params
from deepcompress.data.settings import Data
from deepcompress.errors import UserError
from deepcompress.measure.settings import Evaluate
from deepcompress.models.spec import Model
from deepcompress.params import Section
from deepcompress.runtime import Train
from deepcompress.training.recipe import Recipe

SECTIONS: dict[str, type[Section]] = {
    "train": Train,
    "data": Data,
    "model": Model,
    "finetune": Recipe,
    "evaluate": Evaluate,
}


def check(path: str | Path = params.PARAMS_FILE) -> None:
    """Check every section of the file against its schema.

    Raises:
        UserError: At the first key that is missing, unknown, mistyped or out of range.
    """
    document = params.read(path)
    for key in document:
        if key != "seed" and key not in SECTIONS:
            raise UserError(f"{path}: {key} is unknown; allowed: seed, {', '.join(SECTIONS)}")
    params.seed(path)
    for key, schema in SECTIONS.items():
        params.section(schema, key, path)


def model_ids(document: dict[str, Any]) -> list[str]:
    """Ids of all models that the pipeline makes, in the order in which tables show them.

    Args:
        document: The whole of params.yaml, already checked.

    Returns:
        Each id is the model's path under models/ without suffix.
    """
    return ["baseline"]


def remove_strays(folder: Path, ids: Iterable[str]) -> list[Path]:
    """Delete the files of `folder` that belong to no id (their path without suffix); returns what went."""
    wanted = set(ids)
    strays = [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).with_suffix("").as_posix() not in wanted
    ]
    for file in strays:
        file.unlink()
    return strays
