"""The file system is the registry: a plug-in is a file, and its name is the file's stem."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from deepcompress.errors import UserError


def names(package: str) -> list[str]:
    """Plug-ins of a package such as `data.sources`, sorted; a file that starts with `_` is a helper."""
    folder = importlib.import_module(f"deepcompress.{package}")
    return sorted(m.name for m in pkgutil.iter_modules(folder.__path__) if not m.name.startswith("_"))


def find(package: str, name: str, key: str | None = None) -> ModuleType:
    """Import the plug-in `name` of `package`.

    Args:
        package: Relative to deepcompress, such as `data.sources`.
        name: The file's stem.
        key: The params key that named it, for the error message.

    Raises:
        UserError: If there is no such file; lists what there is.
    """
    known = names(package)
    if name not in known:
        where = f"params.yaml: {key}" if key else package
        raise UserError(f"{where} must be one of {', '.join(known)}; got {name!r}")
    return importlib.import_module(f"deepcompress.{package}.{name}")
