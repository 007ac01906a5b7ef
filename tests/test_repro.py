"""A run side by side leaves what a serial one leaves; what it does when something fails or stops it."""

from __future__ import annotations

import errno
import json
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import mock

import psutil
import pytest
from dvc.lock import LockError
from dvc.utils.serialize import dump_yaml

from deepcompress import repro
from deepcompress.errors import UserError
from tests.faults.damage import largest_file
from tests.processes import wait_for
from tests.toy import PATH, STAGES, Pipeline, new_pipeline, stage

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


@pytest.mark.parametrize("command", ["kill -9 $$", "sh -c 'kill -9 $$'; exit $?"])
def test_a_stage_that_was_killed_said_nothing_above(pipeline: Pipeline, command: str) -> None:
    pipeline.write({**STAGES, "baseline": stage(command, ["plan.txt"], ["baseline"])})
    last = pipeline.repro("-j", "1", code=2).splitlines()[-1]
    why = "most likely for lack of memory; run fewer at a time (make repro JOBS=1)"
    assert last == f"error: stage 'baseline' was ended by SIGKILL, {why}"


def test_it_keeps_going_where_it_is_asked_to(pipeline: Pipeline) -> None:
    pipeline.write({**STAGES, "teacher": stage("exit 3", ["plan.txt"], ["teacher"])})
    shown = pipeline.repro("--keep-going", "-j", "1", code=2)
    assert shown.splitlines()[-1] == "error: stage 'teacher' failed with exit code 3; it says why above"
    assert set(pipeline.lock()) == {"plan", "baseline"}
    assert "student" not in shown, "what depends on it does not run"


def test_errors_of_dvc_end_in_one_line_without_the_colours_of_a_terminal(pipeline: Pipeline) -> None:
    with mock.patch("dvc.repo.lock_repo", side_effect=LockError("see \x1b[36mhere\x1b[39m")):
        assert pipeline.repro(code=2).splitlines()[-1] == "error: see here"
    pipeline.write({"teacher": stage("true", ["source"], ["teacher"])})
    shown = pipeline.repro(code=2).splitlines()[-1]
    assert shown.startswith("error: stage 'teacher': output 'teacher' does not exist")
    (pipeline.folder / "dvc.yaml").write_text("stages: [")
    assert pipeline.repro(code=2).splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_finished_is_kept_when_a_run_ends_early(pipeline: Pipeline, how: signal.Signals) -> None:
    """After SIGKILL in the run cache alone, since dvc.lock is written at the end; SIGTERM ends the commands, too."""
    teacher = stage("cp source teacher", ["source"], ["teacher"])
    late = stage("touch started; [ -e go ] || sleep 20; echo > late", ["teacher"], ["late"])
    pipeline.write({"teacher": teacher, "late": late})
    process = pipeline.start("deepcompress.repro", "-j", "2")
    wait_for((pipeline.folder / "started").exists)
    process.send_signal(how)
    assert process.wait(timeout=300) != 0
    assert process.stdout is not None
    with process.stdout:
        if how == signal.SIGKILL:  # the command outlives its parent a while
            assert not (pipeline.folder / "dvc.lock").exists()
        else:
            process.stdout.read()  # ends only when the command has closed its pipe
            assert set(pipeline.lock()) == {"teacher"}
    (pipeline.folder / "go").touch()
    assert "Running stage 'teacher'" not in pipeline.repro()
    assert set(pipeline.lock()) == {"teacher", "late"}


@pytest.mark.parametrize("alone", [False, True])
def test_a_stage_ends_with_a_run_that_is_killed(pipeline: Pipeline, alone: bool) -> None:
    """It would write its outputs later, over those of the next run."""
    script = "import os, pathlib, signal\npathlib.Path(str(os.getpid())).touch()\nsignal.pause()\n"
    (pipeline.folder / "late.py").write_text(script)
    late = stage("PYTHONPATH=src python late.py", ["source"], ["late"])
    pipeline.write({"late": late | {"meta": {"alone": alone}}})
    process = pipeline.start("deepcompress.repro", "-j", "2")

    def started() -> list[int]:
        return [int(path.name) for path in pipeline.folder.iterdir() if path.name.isdecimal()]

    wait_for(started)
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(runs, started())))
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize("before", ["schema: '2.0'\n", None])
def test_a_full_disk_leaves_the_lock_file_as_it_was(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "dvc.lock"
    if before:
        path.write_text(before)
    with pytest.raises(UserError, match=r"dvc\.lock: No space left on device$"), repro.kept_whole(path):
        path.write_text("sche")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == ({path.name: before} if before else {})


def test_a_full_disk_prints_no_word_of_the_lock_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, long = tmp_path / "dvc.lock", dict.fromkeys(map(str, range(5000)), "pruning.allocations")
    with pytest.raises(UserError, match=r"dvc\.lock: File too large$"), largest_file(900), repro.kept_whole(path):
        dump_yaml(path, long)
    assert capsys.readouterr().out == ""


def test_a_disk_that_takes_all_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    path.write_text("old")
    with repro.kept_whole(path):
        path.write_text("new")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["new"]


def runs(number: int) -> bool:
    """Whether a process of this number does something, and is not only waiting to be asked how it ended."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Six cores and no GPU; the folder is the search path for programs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("jobs", "environment", "threads"),
    [(2, {}, 2 * ["3"]), (4, {}, 4 * ["1"]), (9, {}, 9 * ["1"]), (None, {}, 6 * ["1"]),
     (2, {"OMP_NUM_THREADS": "5"}, 2 * ["5"])],
)  # fmt: skip
def test_cores_are_shared_out_unless_the_user_says_how_many_threads(
    machine: Path, jobs: int | None, environment: dict[str, str], threads: list[str]
) -> None:
    assert repro.shares(jobs, environment) == [{"OMP_NUM_THREADS": number} for number in threads]


def test_many_cores_have_a_few_places(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert repro.shares(None, {}) == [{"OMP_NUM_THREADS": "8"}] * repro.MOST


@pytest.mark.parametrize(
    ("jobs", "visible", "gpus"),
    [(None, None, ["0", "1"]), (3, None, ["0", "1", "0"]), (None, "2,3", ["2", "3"]), (2, "", [None, None])],
)
def test_every_place_has_a_gpu_and_hidden_ones_stay_hidden(
    machine: Path, jobs: int | None, visible: str | None, gpus: list[str | None]
) -> None:
    (machine / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: NVIDIA (UUID: GPU-0)'\necho 'GPU 1: NVIDIA'\n")
    (machine / "nvidia-smi").chmod(0o755)
    places = repro.shares(jobs, {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    assert [place.get("CUDA_VISIBLE_DEVICES") for place in places] == gpus


TELL = """
import json, os, sys
loaded = "torch" in sys.modules
import helper
facts = dict(loaded=loaded, argv=sys.argv, name=__name__, file=__file__, folder=os.getcwd(), said=helper.SAID)
facts |= dict(stage=os.environ.get("DVC_STAGE"), leads=os.getpgrp() == os.getpid())
facts |= dict(main=sys.modules["__main__"].__dict__ is globals(), threads=os.environ.get("OMP_NUM_THREADS"))
json.dump(facts, open(sys.argv[1], "w"))
print("out"); print("err", file=sys.stderr)
"""


def ran(folder: Path, text: str) -> tuple[int, list[str]]:
    """Exit code and output of a script in a fork."""
    (folder / "some.py").write_text(text)
    repro.heat("1")
    printed: list[str] = []
    job = repro.Job(str(folder), "some", "PYTHONPATH=src python some.py", str(folder))
    return repro.run(job, printed.append, forks=True), [line.removeprefix("some | ") for line in printed]


@pytest.mark.parametrize(
    "command",
    [
        *("cp a b", "", "python some.py", "PYTHONPATH=src python"),
        *("PYTHONPATH=src python3.9 some.py", "PYTHONPATH=src python -m some"),
        *(f"PYTHONPATH=src python some.py {more}" for more in ("> a", "&& b", "$HOME", "data/*.png", "'a b'")),
    ],
)
def test_what_takes_a_shell_or_another_program_is_not_forked(command: str) -> None:
    with multiprocessing.Pipe(duplex=False)[1] as writer:
        assert repro.forked(command, {"PATH": PATH}, ".", writer) is None


def test_another_python_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o755)
    with multiprocessing.Pipe(duplex=False)[1] as writer:
        assert repro.forked("PYTHONPATH=src python some.py", {"PATH": str(tmp_path)}, ".", writer) is None


def test_exit_codes_and_tracebacks_come_back_from_a_fork(tmp_path: Path) -> None:
    assert ran(tmp_path, "import sys; print('one line', file=sys.stderr); sys.exit(2)") == (2, ["one line"])
    code, shown = ran(tmp_path, "raise ValueError('why')")
    assert (code, shown[-1]) == (1, "ValueError: why")
    assert ran(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == (-signal.SIGKILL, [])


def test_a_fork_that_ends_while_another_starts_keeps_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """multiprocessing asks of all its processes, when it starts one, which have ended: of an end it reads only once."""
    real, seen, started = multiprocessing.connection.wait, threading.Event(), threading.Event()

    def paused(sentinels: Iterable[int], timeout: float | None = None) -> list[object]:
        ready = real(sentinels, timeout)
        if ready and threading.current_thread() is first:
            seen.set()
            started.wait(60)
        return ready

    codes: list[int] = []
    first = threading.Thread(target=lambda: codes.append(ran(tmp_path, "import sys; sys.exit(3)")[0]))
    monkeypatch.setattr(multiprocessing.connection, "wait", paused)
    first.start()
    assert seen.wait(60)
    (tmp_path / "other").mkdir()
    assert ran(tmp_path / "other", "") == (0, [])
    started.set()
    first.join()
    assert codes == [3]


def test_nothing_of_this_package_or_of_an_earlier_script_is_loaded_in_a_fork(tmp_path: Path) -> None:
    look = (
        "import sys, torch; "
        "print(torch.is_grad_enabled(), torch.get_num_threads(), [n for n in sys.modules if 'deepcompress' in n])"
    )
    spoil = "import torch, deepcompress.runtime; torch.set_grad_enabled(False); torch.set_num_threads(3)"
    assert ran(tmp_path, spoil) == (0, [])
    assert ran(tmp_path, look) == (0, ["True 1 []"])


def test_stages_that_are_scripts_are_forked_unless_they_are_to_be_alone(pipeline: Pipeline) -> None:
    (pipeline.folder / "lib").mkdir()
    (pipeline.folder / "lib/helper.py").write_text("SAID = 'helped'\n")
    (pipeline.folder / "tell.py").write_text(TELL)
    command = "PYTHONPATH=lib python tell.py {0}"
    pipeline.write(
        {
            "one": stage(command.format("one.json"), ["source"], ["one.json"]),
            "timed": stage(command.format("timed.json"), ["one.json"], ["timed.json"]) | {"meta": {"alone": True}},
        }
    )
    shown = pipeline.repro()
    assert {"one | out", "one | err"} <= set(shown.splitlines())
    one, timed = (pipeline.read_json(f"{name}.json") for name in ("one", "timed"))
    for facts, name in ((one, "one"), (timed, "timed")):
        assert facts.pop("argv") == ["tell.py", f"{name}.json"]
        assert facts.pop("stage").endswith(name)
        assert Path(facts.pop("file")).name == "tell.py"
    assert timed.pop("threads") == os.environ.get("OMP_NUM_THREADS")
    assert one.pop("threads")
    assert [facts.pop("loaded") for facts in (one, timed)] == [True, False]
    assert [facts.pop("leads") for facts in (one, timed)] == [True, False]  # a shell leads the other
    assert (
        one == timed == {"name": "__main__", "folder": str(pipeline.folder.resolve()), "said": "helped", "main": True}
    )
