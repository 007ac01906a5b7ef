"""Seeds, devices, processes, calls on all cores, and scratch folders."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from deepcompress import runtime
from deepcompress.errors import STAGE_VARIABLE, UserError
from tests import processes
from tests.processes import printed

PLAIN = {"device": "cpu", "precision": "32-true"}
TRAIN = runtime.Train(**PLAIN)  # type: ignore[arg-type]


def test_derived_seeds_are_stable_and_differ_by_purpose() -> None:
    assert runtime.derived_seed(0, "epoch", 1) == 4546196660651861553
    purposes = {runtime.derived_seed(seed, *parts) for seed in (0, 1) for parts in ((), ("a",), ("b",), ("a", 1))}
    assert len(purposes) == 8
    assert all(0 <= purpose < 2**63 for purpose in purposes)


def test_a_run_starts_seeded_and_deterministic_with_no_advice_of_a_library(caplog: pytest.LogCaptureFixture) -> None:
    runtime.start(TRAIN, 3)
    first = torch.rand(3)
    runtime.start(TRAIN.model_copy(update={"precision": "bf16-mixed"}), 3)
    assert torch.equal(first, torch.rand(3))
    assert torch.are_deterministic_algorithms_enabled()
    assert "lightning" not in {record.name.partition("_")[0] for record in caplog.records}


def test_what_trains_nothing_starts_as_deterministic_and_loads_neither_fabric_nor_compiler() -> None:
    expected = torch.rand(3, generator=torch.Generator().manual_seed(3)).tolist()
    deterministic, seeded, *loaded = printed(
        "from deepcompress import runtime; import sys, torch;"
        f"runtime.start(runtime.Train(**{PLAIN}), 3, trains=False);"
        f"print(torch.are_deterministic_algorithms_enabled(), torch.rand(3).tolist() == {expected}, *sys.modules)"
    ).split()
    assert (deterministic, seeded) == ("True", "True")
    assert not {"lightning_fabric", "torch._dynamo"}.intersection(loaded)


@pytest.mark.parametrize(("threads", "expected"), [(3, "3"), (1, "1"), (None, "2")])
def test_torch_and_numpy_have_as_many_threads_as_params_say_whatever_the_machine_has(
    threads: int | None, expected: str
) -> None:
    code = (
        "from deepcompress import runtime; from threadpoolctl import threadpool_info; import torch;"
        f"runtime.start(runtime.Train(**{PLAIN}, threads={threads}), 0, trains=False);"
        "print(torch.get_num_threads(), *{p['num_threads'] for p in threadpool_info() if p['user_api'] == 'blas'})"
    )
    own = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    assert printed(code, **own).split() == [expected, expected]


def test_a_device_and_a_precision_that_are_not_there_are_refused() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"train\.device is cuda, but this machine has .*cpu"):
            runtime.device(TRAIN.model_copy(update={"device": "cuda"}))
    with pytest.raises(UserError, match="16-mixed needs a GPU; on a CPU use 32-true or bf16-mixed"):
        runtime.start(TRAIN.model_copy(update={"precision": "16-mixed"}), 0)


def test_scratch_folders_are_keyed_by_inputs_and_loaded_code(project: Path) -> None:
    assert runtime.scratch("s", TRAIN, 1) == runtime.scratch("s", TRAIN, 1)
    assert len({runtime.scratch(*parts) for parts in (("s", TRAIN, 1), ("s", TRAIN, 2), ("t", TRAIN, 1))}) == 3
    assert runtime.scratch("s").is_relative_to(project)
    program = "from deepcompress import runtime; {}; print(runtime.source_digest())"
    digests = [printed(program.format(extra)) for extra in ("pass", "pass", "import deepcompress.files")]
    assert digests[0] == digests[1] != digests[2]


def test_scratch_folders_of_shared_work_are_keyed_by_the_code_that_it_names(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "__file__", str(project / "runtime.py"))
    (project / "models").mkdir()
    for name in ("models/vgg.py", "files.py", "other.py"):
        (project / name).write_text("before")

    def folder() -> Path:
        return runtime.scratch("s", 1, code=("models", "files.py"))

    before = folder()
    (project / "other.py").write_text("after")
    monkeypatch.setattr(runtime, "source_digest", lambda: "of other modules")
    assert folder() == before
    (project / "models/vgg.py").write_text("after")
    assert folder() != before


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are counted as Linux counts them")
def test_memory_that_is_kept_costs_few_faults_again() -> None:
    code = (
        "import resource, sys, torch; from deepcompress import runtime\n"
        "if sys.argv[1] == 'keep': runtime.keep_memory_()\n"
        "def fill(): torch.empty(16 << 20).fill_(1)\n"
        "for _ in range(8): fill()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(24): fill()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    faults = {way: int(printed(code, way)) for way in ("keep", "give back")}
    assert faults["keep"] < 0.5 * faults["give back"]  # where the heap can grow decides how soon it is settled


PROGRAM = """
import os, sys, time
from pathlib import Path
from deepcompress import errors, runtime

def main():
    runtime.start(runtime.Train(device="cpu", precision="32-true", devices=int(sys.argv[1])), 0)
    Path(f"process-{runtime.rank()}").touch()
    runtime.wait()
    assert runtime.from_first(lambda: runtime.rank()) == 0
    if sys.argv[2] == str(runtime.rank()):
        raise errors.UserError("something to mend")
    if sys.argv[2] != "none":
        time.sleep(3600)
    runtime.first_only()
    print(f"{runtime.process_count()} processes, number {runtime.rank()} goes on")

with errors.in_one_line():
    main()
"""


def run(folder: Path, *command: str, **variables: str) -> tuple[int, str]:
    """Run the program in a folder; its exit code and what it printed."""
    (folder / "program.py").write_text(PROGRAM)
    process = processes.start(folder, *command, **variables)
    try:
        said, _ = process.communicate(timeout=processes.PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, said


@pytest.mark.parametrize("launcher", ["", f"{sys.executable} -m torch.distributed.run --nproc-per-node 2 --no-python"])
def test_all_start_by_a_launcher_too_and_one_goes_on(tmp_path: Path, launcher: str) -> None:
    code, said = run(tmp_path, "program.py", "2", "none", **{runtime.LAUNCH_VARIABLE: launcher})
    assert code == 0, said
    assert said.splitlines()[-1] == "2 processes, number 0 goes on"
    assert sorted(path.name for path in tmp_path.glob("process-*")) == ["process-0", "process-1"]


@pytest.mark.parametrize("failing", ["0", "1"])
def test_one_that_fails_ends_all(tmp_path: Path, failing: str) -> None:
    code, said = run(tmp_path, "program.py", "2", failing)  # which would end at its limit if they waited for each other
    speaker = "" if failing == "0" else "process 1: "
    assert code != 0
    assert f"error: {speaker}something to mend" in said
    assert "Traceback" not in said
    processes.wait_for(lambda: not running_in(tmp_path))


def running_in(folder: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(folder)]


def test_torchrun_must_start_as_many_as_params_say(tmp_path: Path) -> None:
    code, said = run(tmp_path, "-m", "torch.distributed.run", "--nproc-per-node", "1", "program.py", "2", "none")
    assert code != 0
    assert "error: params.yaml: train.devices x train.num_nodes is 2 x 1, but torchrun started 1" in said


def test_what_is_at_its_default_leaves_no_trace_in_a_file() -> None:
    assert runtime.Train(**PLAIN).model_dump() == PLAIN
    assert runtime.Train(**PLAIN, devices=2, compile=True).model_dump() == {**PLAIN, "devices": 2, "compile": True}
    assert runtime.Train(**PLAIN, devices=2, num_nodes=3, strategy="ddp").alone().model_dump() == PLAIN


def test_a_cpu_takes_as_many_processes_as_asked_for() -> None:
    train = TRAIN.model_copy(update={"devices": "auto"})
    assert runtime.device_count(train, "cpu") == 1
    assert runtime.device_count(train.model_copy(update={"devices": 3}), "cpu") == 3
    with pytest.raises(runtime.UserError, match=r"train\.devices is 3, but this machine has 1 of kind mps"):
        runtime.device_count(train.model_copy(update={"devices": 3}), "mps")


CALLS = """
import os
from deepcompress import runtime
from deepcompress.errors import UserError
def bad():
    raise UserError("one line")
calls = [(lambda place=place: (place, os.getpid())) for place in range(20)]
found = list(runtime.on_cores(calls, threads=THREADS))
print([place for place, _ in found] == list(range(20)), os.getpid() in {pid for _, pid in found})
try:
    list(runtime.on_cores([bad, *calls], threads=THREADS))
except UserError as error:
    print(error)
"""
KILLED = """
import os
from deepcompress import runtime
from deepcompress.errors import UserError
try:
    list(runtime.on_cores([lambda: os._exit(9)] * 2))
except UserError as error:
    print(error)
"""
STUCK = """
import os, signal
from deepcompress import runtime
def wait():
    os.write(1, b"s")
    signal.pause()
list(runtime.on_cores([wait] * 2))
"""
EARLY = """
from deepcompress import runtime
later = []
found = runtime.on_cores([lambda: len(later)] * 2)
later.append("thread of a progress bar")
print(*found)
"""
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
STAGE = {STAGE_VARIABLE: "some"}
forked = pytest.mark.skipif(CORES < 2 or sys.platform != "linux", reason="needs two cores of a Linux machine")


@forked
@pytest.mark.parametrize(("threads", "here"), [("1", False), ("None", True), (str(CORES), True)])
def test_a_stage_spreads_calls_over_the_cores_that_its_threads_leave(threads: str, here: bool) -> None:
    assert printed(CALLS.replace("THREADS", threads), **STAGE).splitlines() == [f"True {here}", "one line"]


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is forked elsewhere")
def test_calls_that_take_several_threads_are_made_here_where_the_threads_are() -> None:
    """In a fork they would wait for ever for those that worked before."""
    worked = (
        "import os, torch\n"
        "os.sched_getaffinity = lambda _: set(range(4))\n"
        "torch.set_num_threads(2)\n"
        "torch.ones(1 << 22).relu().sum()\n"
    )
    assert printed(worked + CALLS.replace("THREADS", "2"), **STAGE).splitlines() == ["True True", "one line"]


@forked
def test_forks_are_made_at_once_before_a_progress_bar_has_its_thread() -> None:
    assert printed(EARLY, **STAGE) == "0 0\n"


@forked
def test_a_fork_that_was_killed_is_told_in_one_line() -> None:
    told = "a process was killed, most likely for lack of memory; with `train.threads: null` "
    assert printed(KILLED, **STAGE).startswith(told)


@forked
def test_forks_end_with_the_process_that_is_killed() -> None:
    environment = {**os.environ, **STAGE}
    with subprocess.Popen([sys.executable, "-c", STUCK], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = process.stdout.read(2)
        process.kill()
        assert seen == "ss"
        assert process.stdout.read() == ""  # comes to an end once nobody can write to it any more


@forked
def test_a_fork_whose_parent_was_killed_before_it_looks_ends() -> None:
    gone = "import os; from deepcompress import runtime; runtime._die_with({}); print('goes on')"
    assert printed(gone.format("os.getppid()")) == "goes on\n"
    with pytest.raises(AssertionError):
        printed(gone.format("os.getpid()"))


def test_elsewhere_calls_are_made_here_one_after_the_other_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STAGE_VARIABLE, raising=False)
    made: list[int] = []
    found = runtime.on_cores([partial(made.append, place) for place in range(3)])
    assert not made
    next(found)
    assert made == [0]
