"""DVC reads params.yaml some seven times per stage, and each time parses it anew: a third of a second for each stage.

Source: `parse_yaml` of dvc/utils/serialize/_yaml.py in DVC 3.67, through which all of that goes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def each_text_once() -> Iterator[None]:
    """While this lasts, DVC parses the same YAML once; what it gets is a copy of its own."""
    from dvc.utils.serialize import _yaml

    original = _yaml.parse_yaml
    parsed = functools.lru_cache(maxsize=16)(original)

    def copied(text: str, path: str, typ: str = "safe") -> Any:
        return copy.deepcopy(parsed(text, path, typ)) if typ == "safe" else original(text, path, typ)

    _yaml.parse_yaml = copied
    try:
        yield
    finally:
        _yaml.parse_yaml = original
