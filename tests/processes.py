"""Programs that tests start beside themselves."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from deepcompress.errors import SCRATCH_VARIABLE
from tests.house import ROOT, SOURCE

PATIENCE_S = 600.0  # of a run that hangs
IMPORTS = f"{SOURCE}{os.pathsep}{ROOT}"


def printed(code: str, *arguments: str, folder: Path = ROOT, **variables: str) -> str:
    """What a program in Python prints, run in a folder; it must end well."""
    environment = {**os.environ, "PYTHONPATH": IMPORTS, **variables}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def start(
    folder: Path, *words: str, output: IO[bytes] | int = subprocess.PIPE, **variables: str
) -> subprocess.Popen[str]:
    """Start Python in a folder that holds its scratch; what it prints on both streams is text."""
    own = {SCRATCH_VARIABLE: ".scratch", "OMP_NUM_THREADS": "1", "PYTHONPATH": IMPORTS}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **own, **variables},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def git(folder: Path, *words: str, environment: Mapping[str, str] = os.environ) -> str:
    """What git prints as Ann calls it in a folder; it must end well."""
    command = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Return as soon as something holds; fail where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
