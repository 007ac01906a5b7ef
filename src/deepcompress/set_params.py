"""Set keys of params.yaml by hand, with no quoting to learn: `python -m deepcompress set KEY VALUE`.

Hydra's grammar, which `dvc exp run -S` speaks, takes brackets, spaces and tildes of a path for signs of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deepcompress import files, params, plan, preset
from deepcompress.errors import UserError

NUMBER = re.compile(r"[-+]?(\d{1,15}\.?\d*|\.\d+)(e[-+]?\d{1,3})?", re.IGNORECASE | re.ASCII)
PLAIN = ("true", "false", "null")
BRACKETS = {("'", "'"), ('"', '"'), ("[", "]"), ("{", "}")}


def set_(arguments: Sequence[str], path: Path = Path(params.PARAMS_FILE)) -> dict[str, Any]:
    """Write values into the file, whose comments and other keys stay, once all of it passes the check of `plan`.

    Args:
        arguments: Dotted keys, each with its value behind it as one types it; see `value`.
        path: The file.

    Returns:
        The values as they are understood.

    Raises:
        UserError: If a key is unknown or a value is not allowed; the file then stays as it was.
    """
    sections = params.read_as_written(path)  # refuses what is damaged, and names the file
    if not arguments or len(arguments) % 2:
        raise UserError(f"set: each key needs a value, such as `set data.source folder`; got {' '.join(arguments)}")
    values: dict[str, Any] = {}
    overlay: dict[str, Any] = {}
    for key, text in zip(arguments[::2], arguments[1::2], strict=True):
        given = values[key] = value(text)
        first, *_ = parts = key.split(".")
        if first not in sections or not all(parts):
            raise UserError(f"{path}: {key} is unknown; sections: {', '.join(sections)}")
        if f"{key}{given}".encode("utf-8", "replace").decode() != f"{key}{given}":
            raise UserError(f"{path}: {key}: the value is no UTF-8; rename the file")
        place: Any = overlay
        there: Any = sections
        for depth, part in enumerate(parts[:-1], 1):
            place, there = place.setdefault(part, {}), there.get(part)
            there = {} if there is None else there  # a null may become a block
            if not isinstance(place, dict):
                raise UserError(f"{path}: {key} lies in a key that is set, too")
            if not isinstance(there, dict):
                block = ".".join(parts[:depth])
                raise UserError(f"{path}: {key} lies in no block: {block} is {there!r}; set {block}")
        if isinstance(given, dict) and not isinstance(there.get(parts[-1]), dict | None):
            raise UserError(f"{path}: {key} is one value, {there[parts[-1]]!r}, and no block")
        if parts[-1] in place:
            raise UserError(f"{path}: {key} is set twice")
        place[parts[-1]] = given
    content = preset.apply(path.read_text(encoding="utf-8"), overlay)
    with files.atomic(path) as partial:
        partial.write_text(content, encoding="utf-8")
        try:
            plan.check(partial)
        except UserError as error:
            raise UserError(str(error).replace(str(partial), str(path))) from None
    return values


def value(text: str) -> Any:
    """A number, true, false, null, "quoted text", [a list], {a block} as YAML reads it; all else is text as it stands.

    YAML has more forms, which paths are more likely to meet by chance: `~`, dates, times, anchors, tags.
    """
    if NUMBER.fullmatch(text):
        return float(text) if set(text) & set(".eE") else int(text)
    if text and text not in PLAIN and (text[0], text[-1]) not in BRACKETS:
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, *params.MISSPELT):
        return text
