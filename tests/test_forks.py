"""Calls on all cores: in order, in forks where it is a stage's own process, and errors as if there were none."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest

from deepcompress import forks
from deepcompress.errors import UserError
from deepcompress.stopwatch import STAGE_VARIABLE

SCRIPT = """
import os
from deepcompress import forks
from deepcompress.errors import UserError
def bad():
    raise UserError("one line")
calls = [(lambda place=place: (place, os.getpid())) for place in range(20)]
found = list(forks.each(calls, threads=THREADS))
print([place for place, _ in found] == list(range(20)), os.getpid() in {pid for _, pid in found})
try:
    list(forks.each([bad, *calls], threads=THREADS))
except UserError as error:
    print(error)
"""
KILLED = """
import os
from deepcompress import forks
from deepcompress.errors import UserError
try:
    list(forks.each([lambda: os._exit(9)] * 2))
except UserError as error:
    print(error)
"""
STUCK = """
import os, signal
from deepcompress import forks
def wait():
    os.write(1, b"s")
    signal.pause()
list(forks.each([wait] * 2))
"""
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


forked = pytest.mark.skipif(CORES < 2 or sys.platform != "linux", reason="needs two cores of a Linux machine")
STAGE = {**os.environ, STAGE_VARIABLE: "some"}


@forked
@pytest.mark.parametrize(("threads", "here"), [("1", False), ("None", True), (str(CORES), True)])
def test_a_stage_spreads_calls_over_the_cores_that_its_threads_leave(threads: str, here: bool) -> None:
    command = [sys.executable, "-c", SCRIPT.replace("THREADS", threads)]
    told = subprocess.run(command, env=STAGE, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [f"True {here}", "one line"]


@forked
def test_a_fork_that_was_killed_is_told_in_one_line() -> None:
    told = subprocess.run([sys.executable, "-c", KILLED], env=STAGE, capture_output=True, text=True, check=True)
    assert told.stdout.startswith("a process was killed, most likely for lack of memory; with `train.threads: null` ")


@forked
def test_forks_end_with_the_process_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", STUCK], env=STAGE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = process.stdout.read(2)
        process.kill()
        assert seen == "ss"
        assert process.stdout.read() == ""  # comes to an end once nobody can write to it any more


def test_elsewhere_calls_are_made_here_one_after_the_other_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STAGE_VARIABLE, raising=False)
    made: list[int] = []
    found = forks.each([partial(made.append, place) for place in range(3)])
    assert not made
    next(found)
    assert made == [0]
    with pytest.raises(UserError, match="no"):
        list(forks.each([partial(_refuse, "no")]))


def _refuse(why: str) -> None:
    raise UserError(why)
