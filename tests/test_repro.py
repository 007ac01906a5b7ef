"""A run side by side leaves what a serial one leaves; what it does when something fails or stops it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import networkx
import psutil
import pytest
from dvc.lock import LockError

from deepcompress import repro
from tests.toy import STAGES, Pipeline, new_pipeline, stage

MEET = "touch {own}; for i in $(seq 300); do [ -e {other} ] && exit 0; sleep 0.1; done; exit 9"


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return new_pipeline(tmp_path / "pipeline")


def test_it_leaves_what_a_serial_run_leaves(tmp_path: Path) -> None:
    serial, ours = new_pipeline(tmp_path / "serial"), new_pipeline(tmp_path / "ours")
    serial.dvc_repro()
    ours.repro()
    assert (ours.folder / "dvc.lock").read_bytes() == (serial.folder / "dvc.lock").read_bytes()
    assert ours.kept() == serial.kept()
    assert ours.status() == {}
    assert "Data and pipelines are up to date." in ours.repro()


def test_stages_that_do_not_wait_for_each_other_run_together(pipeline: Pipeline) -> None:
    pipeline.write(
        {
            "one": stage(f"({MEET.format(own='met1', other='met2')}) && echo > one", ["source"], ["one"]),
            "two": stage(f"({MEET.format(own='met2', other='met1')}) && echo > two", ["source"], ["two"]),
        }
    )
    pipeline.repro()


def test_nothing_runs_beside_a_stage_that_is_to_be_alone(pipeline: Pipeline) -> None:
    busy = "touch busy-{0} && sleep 1 && rm busy-{0} && echo > {0}"
    pipeline.write(
        {
            "timed": stage("! ls busy-* && sleep 1 && ! ls busy-* && echo > timed", ["source"], ["timed"])
            | {"meta": {"alone": True}},
            "one": stage(busy.format("one"), ["source"], ["one"]),
            "two": stage(busy.format("two"), ["source"], ["two"]),
        }
    )
    pipeline.repro()


def test_only_what_changed_runs_and_the_run_cache_is_used(pipeline: Pipeline) -> None:
    pipeline.repro()
    before = pipeline.lock()
    (pipeline.folder / "source").write_text("cifar100\n")
    pipeline.repro()
    assert pipeline.lock() != before
    (pipeline.folder / "source").write_text("shapes\n")
    shown = pipeline.repro()
    assert "Running stage 'plan'" in shown  # its output is not cached
    assert "Running stage 'teacher'" not in shown
    assert pipeline.lock() == before


def test_a_target_runs_with_all_that_it_needs_and_nothing_else(pipeline: Pipeline) -> None:
    pipeline.repro("student@hint")
    assert set(pipeline.lock()) == {"plan", "teacher", "student@hint"}


@pytest.mark.parametrize("elsewhere", ["another", "none"])
def test_python_is_the_one_that_runs_this_without_an_activated_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    if elsewhere == "another":
        (tmp_path / "python").write_text("#!/bin/sh\nexit 9\n")
        (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    printed: list[str] = []
    job = repro.Job(str(tmp_path), "plan", 'python -c "import sys; print(sys.executable)"', str(tmp_path))
    assert repro.run(job, printed.append) == 0
    assert printed == [f"plan | {Path(sys.executable).parent / 'python'}"]


def test_a_failure_ends_in_one_line_and_what_was_finished_stays(pipeline: Pipeline) -> None:
    broken = stage("echo no memory >&2; exit 3", ["plan.txt"], ["baseline"])
    pipeline.write({**STAGES, "baseline": broken})
    last = pipeline.repro(code=2).splitlines()
    assert last[-1] == "error: stage 'baseline' failed with exit code 3; it says why above"
    assert "baseline | no memory" in last
    assert "plan" in pipeline.lock()
    assert {"baseline", "evaluate"}.isdisjoint(pipeline.lock())
    pipeline.write(STAGES)
    assert "Stage 'plan' didn't change, skipping" in pipeline.repro()
    assert set(pipeline.lock()) == {"plan", "teacher", "baseline", "student@hint", "student@crd", "evaluate"}


def test_it_keeps_going_where_it_is_asked_to(pipeline: Pipeline) -> None:
    pipeline.write({**STAGES, "teacher": stage("exit 3", ["plan.txt"], ["teacher"])})
    shown = pipeline.repro("--keep-going", "-j", "1", code=2)
    assert shown.splitlines()[-1] == "error: stage 'teacher' failed with exit code 3; it says why above"
    assert set(pipeline.lock()) == {"plan", "baseline"}
    assert "student" not in shown, "what depends on it does not run"


def test_an_error_of_dvc_reaches_the_user_without_the_colours_of_a_terminal(pipeline: Pipeline) -> None:
    with mock.patch("dvc.repo.lock_repo", side_effect=LockError("see \x1b[36mhere\x1b[39m")):
        assert pipeline.repro(code=2).splitlines()[-1] == "error: see here"


def test_a_stage_that_writes_nothing_fails_like_any_other(pipeline: Pipeline) -> None:
    pipeline.write({"teacher": stage("true", ["source"], ["teacher"])})
    shown = pipeline.repro(code=2)
    assert shown.splitlines()[-1].startswith("error: stage 'teacher': output 'teacher' does not exist")


def test_a_killed_run_finds_what_was_finished_in_the_run_cache(pipeline: Pipeline) -> None:
    teacher = {**STAGES["teacher"], "cmd": "cp source teacher", "deps": ["source"]}
    late = stage("touch started; [ -e go ] || sleep 20; echo > late", ["teacher"], ["late"])
    pipeline.write({"teacher": teacher, "late": late})
    process = pipeline.start("deepcompress.repro", "-j", "2")
    wait_for((pipeline.folder / "started").exists)
    process.kill()
    process.wait(timeout=30)
    assert process.stdout is not None
    process.stdout.close()  # the command outlives its parent a while
    assert not (pipeline.folder / "dvc.lock").exists()
    (pipeline.folder / "go").touch()
    shown = pipeline.repro()
    assert "Running stage 'teacher'" not in shown
    assert set(pipeline.lock()) == {"teacher", "late"}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stopped_run_stops_its_commands_and_keeps_what_was_finished(pipeline: Pipeline) -> None:
    endless = stage("touch started; sleep 600; echo > late", ["plan.txt"], ["late"])
    pipeline.write({"plan": STAGES["plan"], "late": endless})
    process = pipeline.start("deepcompress.repro", "-j", "2")
    wait_for((pipeline.folder / "started").exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)  # ends only when the command has closed its pipe
    assert process.returncode != 0
    assert set(pipeline.lock()) == {"plan"}


def test_a_broken_pipeline_is_one_line(pipeline: Pipeline) -> None:
    (pipeline.folder / "dvc.yaml").write_text("stages: [")
    assert pipeline.repro(code=2).splitlines()[-1].startswith("error: ")


@pytest.fixture
def scheduler(pipeline: Pipeline) -> Iterator[tuple[str, list[psutil.Process]]]:
    """The address of a Dask scheduler, and two workers of it that start in the pipeline's folder."""
    pytest.importorskip("distributed", reason="dask is an optional group")
    address = pipeline.folder / "scheduler.json"
    with open(pipeline.folder.parent / "log", "wb") as log:
        processes = [pipeline.start(*command, output=log) for command in (SCHEDULER, WORKER, WORKER)]
        try:
            wait_for(address.exists)
            yield json.loads(address.read_text())["address"], [psutil.Process(one.pid) for one in processes[1:]]
        finally:
            for process in processes:
                process.kill()
                process.wait()


SCHEDULER = ("distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", "scheduler.json")
WORKER = (
    *("distributed.cli.dask_worker", "--scheduler-file", "scheduler.json", "--nthreads", "1", "--no-nanny"),
    *("--no-dashboard", "--resources", "GPU=1"),
)


@pytest.mark.slow
def test_on_a_cluster_it_leaves_the_same_even_when_a_worker_dies(
    pipeline: Pipeline, scheduler: tuple[str, list[psutil.Process]], tmp_path: Path
) -> None:
    address, workers = scheduler
    slow = "echo $PPID > worker-$$; [ -e go ] || sleep 60; cp plan.txt baseline"
    stages = {**STAGES, "baseline": stage(slow, ["plan.txt"], ["baseline"])}
    pipeline.write(stages)
    run = pipeline.start("deepcompress.repro", "--scheduler", address)
    wait_for(lambda: next(pipeline.folder.glob("worker-*"), None) is not None)
    (pipeline.folder / "go").touch()
    first = next(pipeline.folder.glob("worker-*"))
    busy = psutil.Process(int(first.read_text()))
    assert busy in workers
    children = busy.children(recursive=True)
    busy.kill()
    for child in children:  # as the end of a machine would
        child.kill()
    shown, _ = run.communicate()
    assert run.returncode == 0, shown
    assert len(list(pipeline.folder.glob("worker-*"))) == 2
    local = new_pipeline(tmp_path / "local")
    local.write(stages)
    (local.folder / "go").touch()
    local.repro()
    assert (pipeline.folder / "dvc.lock").read_bytes() == (local.folder / "dvc.lock").read_bytes()
    assert pipeline.kept() == local.kept()


def test_without_a_scheduler_it_is_one_line(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    shown = pipeline.repro("--scheduler", "tcp://127.0.0.1:1", code=2)
    assert shown == "error: dask is not installed; run this by `uv run --group dask`\n"


@dataclass(frozen=True)
class Named:
    addressing: str


def test_the_longest_chain_comes_first() -> None:
    plan, teacher, student, baseline = (Named(name) for name in ("plan", "teacher", "student", "baseline"))
    graph: Any = networkx.DiGraph([(teacher, plan), (student, teacher), (baseline, plan)])
    order: Any = [plan, baseline, teacher, student]
    assert repro.by_urgency(order, graph, {}) == [plan, teacher, baseline, student]
    times = {"plan": 1.0, "baseline": 9.0, "teacher": 2.0, "student": 3.0}
    assert repro.by_urgency(order, graph, times) == [plan, baseline, teacher, student]


def test_stages_left_out_do_not_count() -> None:
    plan, one, two, heavy = (Named(name) for name in ("plan", "one", "two", "heavy"))
    graph: Any = networkx.DiGraph([(one, plan), (two, plan), (heavy, two)])
    order: Any = [plan, one, two]
    assert repro.by_urgency(order, graph, {"heavy": 99.0, "one": 2.0}) == [plan, one, two]


def set_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Six cores and no GPU; the folder is the search path for programs."""
    set_cores(monkeypatch, 6)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def add_gpus(folder: Path, count: int) -> None:
    program = folder / "nvidia-smi"
    lines = "\n".join(f"echo 'GPU {place}: NVIDIA (UUID: GPU-{place})'" for place in range(count))
    program.write_text(f"#!/bin/sh\n{lines}\n")
    program.chmod(0o755)


def test_cores_are_shared_out(machine: Path) -> None:
    assert repro.shares(2, {}) == [{"OMP_NUM_THREADS": "3"}] * 2
    assert repro.shares(4, {}) == [{"OMP_NUM_THREADS": "1"}] * 4
    assert repro.shares(9, {}) == [{"OMP_NUM_THREADS": "1"}] * 9


def test_a_place_for_each_core_unless_asked(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(repro.shares(None, {})) == 6
    set_cores(monkeypatch, 64)
    assert repro.shares(None, {}) == [{"OMP_NUM_THREADS": "8"}] * repro.MOST


def test_the_users_number_of_threads_stays(machine: Path) -> None:
    assert repro.shares(2, {"OMP_NUM_THREADS": "5"}) == [{"OMP_NUM_THREADS": "5"}] * 2


def test_every_place_has_a_gpu(machine: Path) -> None:
    add_gpus(machine, 2)
    assert [place["CUDA_VISIBLE_DEVICES"] for place in repro.shares(None, {})] == ["0", "1"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in repro.shares(3, {})] == ["0", "1", "0"]


def test_hidden_gpus_stay_hidden(machine: Path) -> None:
    add_gpus(machine, 4)
    shown = repro.shares(None, {"CUDA_VISIBLE_DEVICES": "2,3"})
    assert [place["CUDA_VISIBLE_DEVICES"] for place in shown] == ["2", "3"]
    assert all("CUDA_VISIBLE_DEVICES" not in place for place in repro.shares(2, {"CUDA_VISIBLE_DEVICES": ""}))
