"""Python scripts in processes that have torch loaded from the start: forks of one that does nothing but load it.

Loading torch and what comes with it takes a stage of this pipeline two to three seconds of a core, sixty times a run.
The process that forks is multiprocessing's fork server. It loads libraries alone and none of this package, starts no
thread and no GPU, and a script finds environment, arguments, paths and `__main__` as if it had been started by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

LIBRARIES = [
    *("torch", "torch._dynamo", "lightning_fabric", "numpy", "pandas", "safetensors.torch"),
    *("pydantic", "click", "yaml", "tqdm.contrib.logging"),
]
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
FOR_A_SHELL = set("|&;<>()$`\\*?[]{}#~!\n")


@dataclass(frozen=True)
class Script:
    """A Python script to run.

    Attributes:
        arguments: Its path, and what follows on the command line.
        environment: All variables.
        folder: To run in.
    """

    arguments: list[str]
    environment: dict[str, str]
    folder: str

    @classmethod
    def of(cls, command: str, environment: Mapping[str, str], folder: str) -> Script | None:
        """What a shell would make of a command such as `A=b python some.py --c d`; None if that takes a shell.

        Args:
            command: Of a stage.
            environment: That the shell would have.
            folder: Where it would be.
        """
        if FOR_A_SHELL & set(command):
            return None
        try:
            words = shlex.split(command)
        except ValueError:
            return None
        own = dict(environment)
        while words and ASSIGNMENT.match(words[0]):
            name, _, value = words.pop(0).partition("=")
            own[name] = value
        if words[:1] != ["python"] or len(words) < 2 or not words[1].endswith(".py"):
            return None
        python = shutil.which("python", path=own.get("PATH"))
        same = python is not None and Path(python).parent == Path(sys.executable).parent
        return cls(words[1:], own, folder) if same else None


@dataclass(frozen=True)
class Forked:
    """A script that runs, with what the pipeline needs of a subprocess.Popen."""

    process: ForkServerProcess
    stdout: TextIO

    @property
    def pid(self) -> int:
        """Of the process, and of the group that it leads."""
        assert self.process.pid is not None
        return self.process.pid

    def wait(self) -> int:
        """Its exit code, once it has ended and its output was read; negative: the signal that ended it."""
        self.process.join()
        self.stdout.close()
        assert self.process.exitcode is not None
        return self.process.exitcode


@dataclass
class Warm:
    """Runs scripts in processes that start with the libraries loaded; not on Windows, which cannot fork.

    Attributes:
        variables: Of the environment that the libraries read while they load, such as OMP_NUM_THREADS.
    """

    variables: Mapping[str, str]
    is_up: bool = field(default=False, init=False)

    def heat(self) -> None:
        """Start loading in the background, once."""
        if not self.is_up and "forkserver" in multiprocessing.get_all_start_methods():
            from multiprocessing import forkserver

            multiprocessing.get_context("forkserver").set_forkserver_preload(LIBRARIES)
            with self._environment():
                forkserver.ensure_running()
            self.is_up = True

    def run(self, script: Script) -> Forked:
        """Start a script; its output and its errors come together."""
        context = multiprocessing.get_context("forkserver")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(script, writer))
        with self._environment():
            process.start()
        writer.close()
        return Forked(process, os.fdopen(os.dup(reader.fileno()), errors="replace"))

    @contextmanager
    def _environment(self) -> Iterator[None]:
        before = dict(os.environ)
        os.environ.update(self.variables)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _run(script: Script, output: Connection) -> None:
    """In the new process: be what the script's own process would have been."""
    os.setsid()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
    output.close()
    os.chdir(script.folder)
    os.environ.clear()
    os.environ.update(script.environment)
    paths = [str(Path(script.arguments[0]).parent.resolve())]
    paths += [str(Path(path).resolve()) for path in script.environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*paths, *(path for path in sys.path if path not in paths)]
    sys.argv[:] = script.arguments
    runpy.run_path(script.arguments[0], run_name="__main__")
