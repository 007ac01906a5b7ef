"""Run a stage and count its writes: `python counted.py TOLD KILL_AT STAGE ...`, where STAGE is its file.

The file TOLD says when work starts and, at the end, what it took: `seconds` and `writes`. KILL_AT is the write before
which the process group is killed; 0: none. Loads nothing of deepcompress but what the stage loads, because the names of
scratch folders hold these modules.
"""

import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main(told: str, kill_at: int) -> None:
    """Run the stage that `sys.argv` names, in this process."""
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location("stage", sys.argv[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    writes = _counted_writes(kill_at, told)
    start = time.perf_counter()
    Path(told).write_text(json.dumps({"seconds": 0, "writes": 0}))
    try:
        module.main()
    finally:
        Path(told).write_text(json.dumps({"seconds": time.perf_counter() - start, "writes": writes[0]}))


def _counted_writes(kill_at: int, told: str) -> list[int]:
    """Count what changes the file system beside `told`; kill the group before the change with that number."""
    count = [0]

    def seen(event: str, arguments: tuple[Any, ...]) -> None:
        opened = event == "open" and arguments[2] and arguments[2] & WRITING
        if not (opened or event in CHANGES) or str(arguments[0]).startswith(("/dev/", "/proc/", told)):
            return
        count[0] += 1
        if count[0] == kill_at:
            os.killpg(0, signal.SIGKILL)

    sys.addaudithook(seen)
    return count


if __name__ == "__main__":
    told, kill_at, *sys.argv[:] = sys.argv[1:]
    main(told, int(kill_at))
