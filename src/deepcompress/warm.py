"""Python scripts in processes that have torch loaded from the start: forks of one that does nothing but load it.

Loading torch and what comes with it takes a stage two to three seconds of a core, sixty times a run. The process that
forks is multiprocessing's fork server: it loads libraries alone and none of this package, starts no thread and no GPU.
A script finds environment, arguments, paths and `__main__` as if it had been started by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import runpy
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

LIBRARIES = [
    *("torch", "torch._dynamo", "lightning_fabric", "numpy", "pandas", "safetensors.torch"),
    *("pydantic", "click", "yaml", "tqdm.contrib.logging"),
]
SCRIPT = re.compile(r"PYTHONPATH=([\w./-]+) python ([\w./-]+\.py(?: [\w./@,:+-]+)*)")  # with nothing for a shell to do
METHOD: Final = "forkserver"  # not on Windows
THREADS_VARIABLE = "OMP_NUM_THREADS"


@cache
def heat(threads: str) -> None:
    """Start loading in the background, once.

    Args:
        threads: Of a script; the libraries look while they load, not later.
    """
    if METHOD in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        before = os.environ.get(THREADS_VARIABLE)
        multiprocessing.get_context(METHOD).set_forkserver_preload(LIBRARIES)
        os.environ[THREADS_VARIABLE] = threads
        forkserver.ensure_running()
        if before is None:
            del os.environ[THREADS_VARIABLE]


def started(command: str, environment: Mapping[str, str], folder: str, output: Connection) -> BaseProcess | None:
    """A command such as `PYTHONPATH=src python some.py --c d`, running; None if it is another one, for a shell."""
    script = SCRIPT.fullmatch(command)
    python = shutil.which("python", path=environment.get("PATH"))
    same = python is not None and Path(python).parent == Path(sys.executable).parent
    if not script or not same or METHOD not in multiprocessing.get_all_start_methods():
        return None
    variables = {**environment, "PYTHONPATH": script[1]}
    process = multiprocessing.get_context(METHOD).Process(
        target=_run, args=(script[2].split(), variables, folder, output)
    )
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    """The exit code, once it has ended; negative: the signal that ended it."""
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(arguments: list[str], environment: Mapping[str, str], folder: str, output: Connection) -> None:
    """In the new process: be what the script's own process would have been."""
    os.setsid()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
    output.close()
    # Anew, because a stream that was a file would seek in what is a pipe now.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = [str(Path(path).resolve()) for path in (Path(arguments[0]).parent, environment["PYTHONPATH"])]
    sys.path[:] = [*paths, *(path for path in sys.path if path not in paths)]
    sys.argv[:] = arguments
    for name in [name for name in sys.modules if name.partition(".")[0] == __package__]:
        del sys.modules[name]  # what started it is none of the script's: scratch is named by the modules loaded
    runpy.run_path(arguments[0], run_name="__main__")
