"""Stages in forks of a process that has their libraries loaded.

Loading torch and what comes with it takes a stage two to three seconds of a core, sixty times a run. So a stage that is
a Python script runs in a fork of a process that has them loaded: multiprocessing's fork server, which loads libraries
alone and none of this package, starts no thread and no GPU. The script finds environment, arguments, paths and
`__main__` as if it had been started by itself.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import re
import runpy
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

THREADS_VARIABLE = "OMP_NUM_THREADS"
METHOD: Final = "forkserver"
POSIX = METHOD in multiprocessing.get_all_start_methods()  # not on Windows
LIBRARIES = [
    *("torch", "torch._dynamo", "lightning_fabric", "numpy", "pandas", "safetensors.torch"),
    *("pydantic", "click", "yaml", "tqdm.contrib.logging"),
]
SCRIPT = re.compile(r"PYTHONPATH=([\w./-]+) python ([\w./-]+\.py(?: [\w./@,:+-]+)*)")  # with nothing for a shell to do

# A process that starts asks which others have ended, and an end can be read once: who reads it too late is told 255.
ONE_AT_A_TIME = threading.Lock()


@cache
def heat(threads: str) -> None:
    """Start loading libraries in the background, once; they look for the number of threads while they load."""
    if POSIX:
        from multiprocessing import forkserver, resource_tracker

        before = os.environ.get(THREADS_VARIABLE)
        multiprocessing.get_context(METHOD).set_forkserver_preload(LIBRARIES)
        resource_tracker.ensure_running()  # here, because it ends with Ctrl-C let through
        os.environ[THREADS_VARIABLE] = threads
        with without_ctrl_c():
            forkserver.ensure_running()
        if before is None:
            del os.environ[THREADS_VARIABLE]


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: one that loads libraries would end in a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def forked(command: str, environment: Mapping[str, str], folder: str, output: Connection) -> BaseProcess | None:
    """A command such as `PYTHONPATH=src python some.py --c d`, running; None if it is another one, for a shell."""
    script = SCRIPT.fullmatch(command)
    python = shutil.which("python", path=environment.get("PATH"))
    same = python is not None and Path(python).parent == Path(sys.executable).parent
    if not script or not same or not POSIX:
        return None
    arguments = (script[2].split(), {**environment, "PYTHONPATH": script[1]}, folder, output)
    process = multiprocessing.get_context(METHOD).Process(target=_run_script, args=arguments)
    with ONE_AT_A_TIME, without_ctrl_c():
        process.start()
    return process


def exit_code(process: BaseProcess) -> int:
    """Of a process that `forked` gave, once it has ended; negative: the signal that ended it."""
    multiprocessing.connection.wait([process.sentinel])
    with ONE_AT_A_TIME:
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run_script(arguments: list[str], environment: Mapping[str, str], folder: str, output: Connection) -> None:
    """In the new process: be what the script's own process would have been."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    multiprocessing.set_start_method(None, force=True)  # the usual one
    parent = multiprocessing.parent_process()
    assert parent is not None
    end_with(parent.sentinel, os.getpid())
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


def end_with(pipe: int, group: int) -> None:
    """End a process group when the other end of a pipe that it holds closes, or at once where that is closed.

    That is when the run that started it ends, be it killed: no output may come after its next run. A pipe that closes
    sends SIGIO, which ends who does not handle it. So no thread waits for it, beside which a stage would not use all
    cores.
    """
    if POSIX:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETOWN, -group)
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
        if multiprocessing.connection.wait([pipe], timeout=0):
            os.killpg(group, signal.SIGIO)


def leave_alone(pipe: int) -> None:
    """Undo `end_with`: a command that ended well may leave something running, as in a run of DVC."""
    if POSIX:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) & ~os.O_ASYNC)
