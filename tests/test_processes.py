"""Processes: who writes, what a failure does to the others, and ways to start them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepcompress import processes, runtime
from tests.house import SOURCE

PROGRAM = """
import os, sys, time
from pathlib import Path
from deepcompress import errors, processes, runtime

@errors.one_line_errors
def main():
    runtime.start(runtime.Train(device="cpu", precision="32-true", devices=int(sys.argv[1])), 0)
    Path(f"process-{processes.rank()}").write_text(str(os.getpid()))
    processes.wait()
    assert processes.from_first(lambda: processes.rank()) == 0
    if sys.argv[2] == str(processes.rank()):
        raise errors.UserError("something to mend")
    if sys.argv[2] != "none":
        time.sleep(60)
    processes.first_only()
    print(f"{processes.count()} processes, number {processes.rank()} goes on")

main()
"""
SECONDS_ALLOWED = 120.0


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start the program in a folder."""
    (folder / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE), **variables}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_ALLOWED,
    )


def test_all_start_and_one_goes_on(tmp_path: Path) -> None:
    done = run(tmp_path, "program.py", "2", "none")
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "2 processes, number 0 goes on"
    assert sorted(path.name for path in tmp_path.glob("process-*")) == ["process-0", "process-1"]


@pytest.mark.parametrize("failing", ["0", "1"])
def test_one_that_fails_ends_all(tmp_path: Path, failing: str) -> None:
    start = time.monotonic()
    done = run(tmp_path, "program.py", "2", failing)
    speaker = "" if failing == "0" else "process 1: "
    assert done.returncode != 0
    assert f"error: {speaker}something to mend" in done.stdout
    assert "Traceback" not in done.stdout
    deadline = time.monotonic() + 10
    while _alive(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(tmp_path)
    assert time.monotonic() - start < 60, "they waited for each other"


def _alive(folder: Path) -> list[int]:
    pids = [int(path.read_text()) for path in folder.glob("process-*")]
    return [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return b"program.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_launcher_named_in_the_environment_takes_over(tmp_path: Path) -> None:
    launcher = f"{sys.executable} -m torch.distributed.run --nproc-per-node 2 --no-python"
    done = run(tmp_path, "program.py", "2", "none", **{processes.LAUNCH_VARIABLE: launcher})
    assert done.returncode == 0, done.stdout
    assert "2 processes, number 0 goes on" in done.stdout


def test_torchrun_must_start_as_many_as_params_say(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "torch.distributed.run", "--nproc-per-node", "1", "program.py", "2", "none")
    assert done.returncode != 0
    assert "error: params.yaml: train.devices x train.num_nodes is 2 x 1, but torchrun started 1" in done.stdout


def test_alone_everything_is_first_and_nothing_waits() -> None:
    assert (processes.rank(), processes.count(), processes.is_first()) == (0, 1, True)
    assert processes.from_first(lambda: 7) == 7
    processes.wait()
    processes.first_only()


def test_what_is_at_its_default_leaves_no_trace_in_a_file() -> None:
    plain = {"device": "cpu", "precision": "32-true"}
    assert runtime.Train(**plain).model_dump() == plain
    assert runtime.Train(**plain, devices=2, compile=True).model_dump() == {**plain, "devices": 2, "compile": True}
    assert runtime.Train(**plain, devices=2, num_nodes=3, strategy="ddp").alone().model_dump() == plain


def test_a_cpu_takes_as_many_processes_as_asked_for() -> None:
    train = runtime.Train(device="cpu", precision="32-true", devices="auto")
    assert runtime.device_count(train, "cpu") == 1
    assert runtime.device_count(train.model_copy(update={"devices": 3}), "cpu") == 3
    with pytest.raises(runtime.UserError, match=r"train\.devices is 3, but this machine has 1 of kind mps"):
        runtime.device_count(train.model_copy(update={"devices": 3}), "mps")
