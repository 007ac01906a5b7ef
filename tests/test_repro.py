"""A run side by side leaves what a serial one leaves; what it does when something fails or stops it."""

import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest
from dvc.dvcfile import Lockfile
from dvc.lock import LockError
from dvc.utils.serialize import dump_yaml

from deepcompress import forks, repro
from tests.faults.damage import largest_file
from tests.processes import wait_for
from tests.toy import STAGES, Pipeline, new_pipeline, stage

pytestmark = pytest.mark.usefixtures("ctrl_c_is_heard")
MEET = "touch {own}; for i in $(seq 6000); do [ -e {other} ] && exit 0; sleep 0.1; done; exit 9"


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


def test_what_a_command_leaves_running_goes_on_once_it_has_ended_well(tmp_path: Path) -> None:
    left = "(for i in $(seq 6000); do [ -e go ] && touch gone && exit; sleep 0.1; done) > /dev/null 2>&1 &"
    assert repro.run(repro.Job(str(tmp_path), "some", left, str(tmp_path))) == 0
    (tmp_path / "go").touch()
    wait_for((tmp_path / "gone").exists)


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


def test_what_ran_while_its_params_changed_is_not_recorded(pipeline: Pipeline) -> None:
    edit = "cp params.yaml plan.txt; printf 'bits: 4\\nunread: 1' > params.yaml"
    pipeline.write({"plan": stage(edit, ["source"], ["plan.txt"], params=["bits"])})
    (pipeline.folder / "params.yaml").write_text("bits: 8\n")
    why = "params.yaml: bits is modified since it started; run this again"
    assert pipeline.repro(code=2).splitlines()[-1] == f"error: stage 'plan' is not recorded: {why}"
    assert not pipeline.kept()
    (pipeline.folder / "params.yaml").write_text("bits: 4\n")
    pipeline.repro()
    assert pipeline.lock()["plan"]["params"]["params.yaml"] == {"bits": 4}


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


@pytest.mark.parametrize("before", [True, False])
def test_a_full_disk_leaves_the_lock_file_as_it_was_and_prints_no_word_of_it(pipeline: Pipeline, before: bool) -> None:
    if before:
        pipeline.repro("teacher")

    def full(lockfile: Lockfile, stages: object) -> None:
        with largest_file(900):
            dump_yaml(lockfile.path, dict.fromkeys(map(str, range(5000)), "pruning.allocations"))

    locks = {path.name: path.read_bytes() for path in pipeline.folder.glob("*.lock")}
    with mock.patch.object(Lockfile, "dump_stages", full):
        shown = pipeline.repro(code=2)
    assert shown.splitlines()[-1].endswith("dvc.lock: File too large")
    assert "pruning.allocations" not in shown
    assert {path.name: path.read_bytes() for path in pipeline.folder.glob("*.lock")} == locks
    assert len(locks) == before
    assert not list(pipeline.folder.glob(".dvc.lock*"))


def press() -> None:
    """Ctrl-C in this process, while `repro.main` runs in it, twice."""
    for _ in range(2):
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_the_lock_file_is_written_waits(pipeline: Pipeline) -> None:
    dump = Lockfile.dump_stages

    def disturbed(lockfile: Lockfile, stages: object) -> None:
        press()
        dump(lockfile, stages)

    with mock.patch.object(Lockfile, "dump_stages", disturbed):
        assert pipeline.repro(code=1).splitlines()[-1] == "Aborted!"
    assert set(pipeline.lock()) == {"plan", "teacher", "baseline", "student@hint", "student@crd", "evaluate"}
    assert pipeline.status() == {}


@contextmanager
def pressed_when(holds: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C comes as soon as stages run and something holds."""
    wait, done = repro.wait, []

    def disturbed(futures: Iterable[Future[int]], **options: Any) -> Any:
        if not done:
            done.append(True)
            wait_for(holds)
            press()
        return wait(futures, **options)

    with mock.patch.object(repro, "wait", disturbed):
        yield


def test_what_ended_as_ctrl_c_came_is_kept(pipeline: Pipeline) -> None:
    pipeline.write({"plan": stage("cp source plan.txt", ["source"], ["plan.txt"])})
    ended = threading.Event()
    run = repro.run

    def told(*arguments: Any, **options: Any) -> int:
        code = run(*arguments, **options)
        ended.set()
        return code

    with mock.patch.object(repro, "run", told), pressed_when(ended.is_set):
        assert pipeline.repro(code=1).splitlines()[-1] == "Aborted!"
    assert set(pipeline.lock()) == {"plan"}


def test_a_second_ctrl_c_lets_no_stage_go_on(pipeline: Pipeline) -> None:
    late = stage("touch started; sleep 30; echo > late", ["source"], ["late"])
    pipeline.write({"late": late})
    stop = repro.stop

    def disturbed(*arguments: Any) -> None:
        press()
        stop(*arguments)

    with mock.patch.object(repro, "stop", disturbed), pressed_when((pipeline.folder / "started").exists):
        shown = pipeline.repro(code=1).splitlines()
    assert repro.STOPPING in shown
    assert shown[-1] == "Aborted!"
    assert not (pipeline.folder / "late").exists()
    assert not repro.RUNNING


def test_a_fork_that_waits_for_its_libraries_as_ctrl_c_comes_is_ended_however_long_it_waits(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(30)\npathlib.Path('late').touch()\n"
    (pipeline.folder / "late.py").write_text(script)
    pipeline.write({"late": stage("PYTHONPATH=src python late.py", ["source"], ["late"])})
    started, stops, enough = threading.Event(), itertools.count(1), threading.Event()
    forked, stop = forks.forked, repro.stop

    def slow(*arguments: Any) -> Any:
        started.set()
        enough.wait(60)
        return forked(*arguments)

    def counted(*arguments: Any) -> None:
        stop(*arguments)
        if next(stops) == 300:
            enough.set()

    monkeypatch.setattr(repro, "SECONDS_BETWEEN_STOPS", 0.001)
    monkeypatch.setattr(forks, "forked", slow)
    monkeypatch.setattr(repro, "stop", counted)
    with pressed_when(started.is_set):
        pipeline.repro(code=1)
    assert enough.is_set()
    assert not (pipeline.folder / "late").exists()
    assert not repro.RUNNING


def test_a_stage_that_does_not_heed_ctrl_c_is_killed(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.write({"deaf": stage("trap '' TERM; touch started; while :; do sleep 0.1; done", ["source"], ["late"])})
    monkeypatch.setattr(repro, "FRIENDLY_STOPS", 3)
    with pressed_when((pipeline.folder / "started").exists):
        assert pipeline.repro(code=1).splitlines()[-1] == "Aborted!"
    assert not repro.RUNNING


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
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that programs are looked for in, an empty one: there is no GPU."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("cores", "jobs", "environment", "threads"),
    [(6, 2, {}, 2 * ["3"]), (6, 4, {}, 4 * ["1"]), (6, 9, {}, 9 * ["1"]), (6, None, {}, 6 * ["1"]),
     (64, None, {}, repro.MOST * ["8"]), (6, 2, {"OMP_NUM_THREADS": "5"}, 2 * ["5"])],
)  # fmt: skip
@pytest.mark.usefixtures("programs")
def test_cores_are_shared_out_unless_the_user_says_how_many_threads(
    monkeypatch: pytest.MonkeyPatch, cores: int, jobs: int | None, environment: dict[str, str], threads: list[str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert repro.shares(jobs, environment) == [{"OMP_NUM_THREADS": number} for number in threads]


@pytest.mark.parametrize(
    ("jobs", "visible", "gpus"),
    [(None, None, ["0", "1"]), (3, None, ["0", "1", "0"]), (None, "2,3", ["2", "3"]), (2, "", [None, None])],
)
def test_every_place_has_a_gpu_and_hidden_ones_stay_hidden(
    programs: Path, jobs: int | None, visible: str | None, gpus: list[str | None]
) -> None:
    (programs / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: NVIDIA (UUID: GPU-0)'\necho 'GPU 1: NVIDIA'\n")
    (programs / "nvidia-smi").chmod(0o755)
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
    one, timed = (json.loads((pipeline.folder / f"{name}.json").read_text()) for name in ("one", "timed"))
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
