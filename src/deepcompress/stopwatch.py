"""Note how long each stage of a pipeline run took, in scratch; no output of a stage may hold it.

The clock starts when this module is loaded, among the first of a process, so that loading torch counts. It imports
nothing of the package, because every command does.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

STAGE_VARIABLE = "DVC_STAGE"  # DVC sets it for the command of a stage to the stage's address
SCRATCH_VARIABLE = "DEEPCOMPRESS_SCRATCH"  # as in runtime.scratch
FOLDER = "seconds"
STARTED = time.perf_counter()


def folder() -> Path:
    """Where the times of stages lie: <stage>.json each."""
    return Path(os.environ.get(SCRATCH_VARIABLE, ".scratch")) / FOLDER


def note() -> Path | None:
    """Write what this process took so far under the name of the stage that DVC runs it for; None outside of DVC.

    Returns:
        The file: `stage`, its address such as `prune_sweep@structured-0.5`, and wall `seconds`.
    """
    stage = os.environ.get(STAGE_VARIABLE, "").rpartition(":")[2]
    if not stage:
        return None
    path = folder() / f"{stage.replace('/', '-')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(json.dumps({"stage": stage, "seconds": round(time.perf_counter() - STARTED, 2)}) + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def noted() -> list[dict[str, object]]:
    """What `note` wrote so far, in the order in which the stages ended: `stage` and `seconds` each.

    A damaged file counts as absent.
    """
    written = sorted(folder().glob("[!.]*.json"), key=lambda path: (path.stat().st_mtime, path.name))
    return [found for path in written if (found := _read(path)) is not None]


def _read(path: Path) -> dict[str, object] | None:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        stage, seconds = found["stage"], found["seconds"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    whole = type(stage) is str and type(seconds) in (int, float) and 0 <= seconds < math.inf
    return {"stage": stage, "seconds": seconds} if whole else None
