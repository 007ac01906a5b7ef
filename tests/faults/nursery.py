"""A process that has the heavy libraries loaded and forks a child for each stage, which can be killed at once.

Run as a script: reads one JSON request per line, answers with the child's process id and then with its exit code. It
loads nothing of deepcompress, because the names of scratch folders hold the modules that a stage has loaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

PRELOADED = (
    "torch", "torchvision", "torchao.quantization", "lightning_fabric", "pandas", "tqdm.contrib.logging", "click",
    "pydantic", "yaml", "safetensors.torch", "zstandard", "skimage.metrics", "pytorch_grad_cam", "matplotlib.pyplot",
    "jinja2", "onnx", "onnxscript", "onnxruntime.quantization", "PIL.Image",
)  # fmt: skip
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> None:
    """Serve until the input ends."""
    for name in PRELOADED:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _stage(**json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _stage(
    *, folder: str, command: list[str], environment: dict[str, str], told: str, log: str, kill_at: int
) -> NoReturn:
    """Run a stage's command line in this process, as leader of a group of its own.

    Args:
        folder: Of the project.
        command: The stage's file and its arguments.
        environment: In place of that of this process.
        told: File that says when work starts and, at the end, what it took: `seconds` and `writes`.
        log: File for what the stage prints.
        kill_at: The write before which the group is killed; 0: none.
    """
    os.setsid()
    _redirect(log)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(Path(folder, "src")))
    sys.argv = command
    spec = importlib.util.spec_from_file_location("stage", command[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    code, writes = 0, _counted_writes(kill_at, told)
    start = time.perf_counter()
    Path(told).write_text(json.dumps({"seconds": 0, "writes": 0}))
    try:
        module.main()
    except SystemExit as end:
        code = int(end.code or 0)
    took = {"seconds": time.perf_counter() - start, "writes": writes[0]}
    Path(told).write_text(json.dumps(took))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _redirect(log: str) -> None:
    for stream, path, how in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)):
        os.dup2(os.open(path, how), stream)
    os.dup2(1, 2)


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
    main()
