"""A script in a fork is what it would be in a process of its own, and ends as it would."""

import multiprocessing.connection
import signal
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from deepcompress import forks, repro
from tests import processes
from tests.toy import PATH


def ran(folder: Path, text: str) -> tuple[int, list[str]]:
    """Exit code and output of a script in a fork."""
    (folder / "some.py").write_text(text)
    forks.heat("1")
    printed: list[str] = []
    job = repro.Job(str(folder), "some", "PYTHONPATH=src python some.py", str(folder))
    return repro.run(job, printed.append, may_fork=True), [line.removeprefix("some | ") for line in printed]


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
        assert forks.forked(command, {"PATH": PATH}, ".", writer) is None


def test_another_python_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o755)
    with multiprocessing.Pipe(duplex=False)[1] as writer:
        assert forks.forked("PYTHONPATH=src python some.py", {"PATH": str(tmp_path)}, ".", writer) is None


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


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_reaches_a_script_but_not_what_loads_its_libraries(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text(
        "import multiprocessing, signal\n"
        "blocked, handler = signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGINT)\n"
        "print(blocked, handler is signal.default_int_handler, multiprocessing.get_start_method())\n"
    )
    program = (
        "import os, signal, sys\n"
        "from multiprocessing import forkserver\n"
        "from deepcompress import forks, repro\n"
        "forks.heat('1')\n"
        "os.kill(forkserver._forkserver._forkserver_pid, signal.SIGINT)\n"
        "job = repro.Job('.', 'some', 'PYTHONPATH=src python some.py', '.')\n"
        "print(repro.run(job, may_fork=True))\n"
    )
    with processes.start(tmp_path, "-c", program) as process:
        usual = multiprocessing.get_start_method()
        assert process.communicate()[0].splitlines() == [f"some | set() True {usual}", "0"]


def test_a_group_whose_run_has_ended_already_does_not_go_on(tmp_path: Path) -> None:
    program = (
        "import os\n"
        "from deepcompress import forks\n"
        "os.setsid()\n"
        "reader, writer = os.pipe()\n"
        "print('before', flush=True)\n"
        "os.close(writer)\n"
        "forks.end_with(reader, os.getpid())\n"
        "print('after')\n"
    )
    with processes.start(tmp_path, "-c", program) as process:
        assert process.communicate()[0] == "before\n"
        assert process.returncode == -signal.SIGIO


def test_nothing_of_this_package_or_of_an_earlier_script_is_loaded_in_a_fork(tmp_path: Path) -> None:
    look = (
        "import sys, torch; "
        "print(torch.is_grad_enabled(), torch.get_num_threads(), [n for n in sys.modules if 'deepcompress' in n])"
    )
    spoil = "import torch, deepcompress.runtime; torch.set_grad_enabled(False); torch.set_num_threads(3)"
    code, before = ran(tmp_path, look)
    assert (code, before[0].split()[::2]) == (0, ["True", "[]"])
    assert ran(tmp_path, spoil) == (0, [])
    assert ran(tmp_path, look) == (0, before)
