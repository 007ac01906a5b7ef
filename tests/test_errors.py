"""A user's mistake is one line on stderr and exit code 2; a stage that ends well leaves its time in scratch."""

import errno
import importlib
import json
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from deepcompress import code_hash, errors, preset, progress, replicates, repro, stale
from deepcompress.__main__ import main as commands
from deepcompress.errors import Command, UserError, one_line
from deepcompress.report import pr_report
from tests import house
from tests.processes import printed

NO_SECONDS = (b"NaN", b"-1", b"1e999", b'"3"', b"null", b"true")
FILES = [path for folder in ("stages", "benchmarks") for path in sorted((house.ROOT / folder).glob("*.py"))]
SCRIPTS = [f"{path.parent.name}.{path.stem}" for path in FILES if "@click.command(" in path.read_text(encoding="utf-8")]


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(errors.SCRATCH_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("params.yaml: x is\nwrong"), "error: params.yaml: x is wrong\n"),
        (OSError(errno.ENOSPC, "No space left on device", "m.bin"), "error: m.bin: No space left on device\n"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two_and_notes_no_time(
    error: Exception, line: str, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command(cls=Command)
    def main() -> None:
        raise error

    monkeypatch.setenv(errors.STAGE_VARIABLE, "prune")
    done = CliRunner().invoke(main)
    assert (done.exit_code, done.stderr) == (2, line)
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (commands, "predict", "Missing argument 'IMAGES...'."),
        (commands, "predcit", "No such command 'predcit'"),
        (commands, "stale", "stale is run by `python -m deepcompress.stale`, with a dot"),
        (repro.main, "--foo", "No such option '--foo'."),
        (preset.main, "", "Missing argument 'NAME'."),
        (replicates.main, "--seeds 1", "Invalid value for '--seeds': 1 is not in the range x>=2."),
        (stale.main, "x", "Got unexpected extra argument (x)"),
        (code_hash.main, "", "Missing option '--file'."),
        (pr_report.main, "", "Missing argument 'BASE'."),
        *((script, "--foo", "No such option '--foo'.") for script in SCRIPTS),
    ],
)
def test_a_wrong_call_of_a_command_is_one_line(command: click.Command | str, words: str, said: str) -> None:
    called = importlib.import_module(command).main if isinstance(command, str) else command
    done = CliRunner().invoke(called, words)
    assert done.exit_code == 2
    assert done.output.startswith(f"error: {said}")
    assert done.output.count("\n") == 1


def test_without_a_word_the_help_is_shown() -> None:
    done = CliRunner().invoke(commands, "")
    assert done.output.startswith("Usage: ")
    assert "predict" in done.output


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="a bug"), errors.in_one_line():
        raise ValueError("a bug")


def test_a_message_cannot_steer_the_terminal() -> None:
    assert one_line("a\n\tb \x1b[2Jc\u202e é") == "a b \\x1b[2Jc\\u202e é"


@pytest.mark.parametrize(
    ("address", "names"),
    [(a, [a.rpartition(":")[2]]) for a in ("prune", "prune_sweep@structured-0.5", "sub/dvc.yaml:prune")] + [("", [])],
)
def test_a_stage_that_dvc_runs_notes_its_seconds(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, address: str, names: list[str]
) -> None:
    monkeypatch.setenv(errors.STAGE_VARIABLE, address)
    monkeypatch.setattr(errors, "STARTED", time.perf_counter() - 5)
    assert Command("some", callback=lambda: 3).main([], standalone_mode=False) == 3
    noted = [json.loads(path.read_text()) for path in scratch.glob("seconds/*")]
    assert [row["stage"] for row in noted] == names
    assert all(row["seconds"] >= 5 for row in noted)
    assert progress.noted() == noted


@pytest.mark.parametrize(
    "content",
    [b"", b'{"stage": "prune", "sec', b"\xff\xfe", b"[" * 10**5, b"[]", b"3", b"null", b"{}", b'{"stage": "prune"}']
    + [b'{"stage": "prune", "seconds": %s}' % seconds for seconds in NO_SECONDS]
    + [b'{"stage": 3, "seconds": 3}'],
    ids=range(16),
)
def test_a_damaged_note_counts_as_absent(scratch: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    for stage in ("download", "prune", "report"):
        monkeypatch.setenv(errors.STAGE_VARIABLE, stage)
        errors.note_seconds()
    (scratch / "seconds/prune.json").write_bytes(content)
    assert [row["stage"] for row in progress.noted()] == ["download", "report"]


@pytest.mark.parametrize(
    ("stage", "script", "passed_over"),
    [("prune", "stages/prune.py", True), ("prune", "own.py", False), ("", "stages/prune.py", False)],
)
def test_only_a_stage_lets_the_garbage_collector_pass_over_what_was_loaded(
    stage: str, script: str, passed_over: bool
) -> None:
    code = (
        "import gc, sys; sys.argv.pop(0); from deepcompress import errors; print(gc.isenabled());"
        "errors.Command('some', callback=lambda: print(gc.get_freeze_count() > 0, gc.isenabled()))()"
    )
    lines = printed(code, script, **{errors.STAGE_VARIABLE: stage}).split()
    assert lines == [str(not passed_over), str(passed_over), "True"]


def test_the_error_of_a_users_own_code_stays_behind_what_is_said_of_an_argument() -> None:
    @errors.of_arguments({"model": "network_settings"})
    def train(**given: object) -> None:
        raise UserError("params.yaml: model.arch: KeyError while it was called") from KeyError("the user's")

    with pytest.raises(UserError, match=r"^train: network_settings\.arch: KeyError while it was called$") as caught:
        train(network_settings={"arch": "own:broken"})
    assert isinstance(caught.value.__cause__, KeyError)
