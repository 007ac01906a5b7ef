"""What stored images may take in memory: the one key of params.yaml that no result depends on.

Within the budget and above it batches have the same bits, so no stage names the key, a change of it makes
nothing stale, and whoever opens a data folder reads it here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepcompress import params
from deepcompress.errors import UserError

DEFAULT_MIB = 2048
KEY = "device_budget_mib"
BYTES_PER_MIB = 2**20


def device_budget_bytes(path: str | Path = params.PARAMS_FILE) -> int:
    """`data.device_budget_mib`, in bytes; its default where the file or the key is not there.

    Raises:
        UserError: If it is no whole number of at least 0.
    """
    section: Any = params.read(path).get("data") if Path(path).is_file() else None
    found = section.get(KEY, DEFAULT_MIB) if isinstance(section, dict) else DEFAULT_MIB
    if type(found) is not int or found < 0:
        raise UserError(f"{path}: data.{KEY} must be a whole number of at least 0, got {found!r}")
    return found * BYTES_PER_MIB
