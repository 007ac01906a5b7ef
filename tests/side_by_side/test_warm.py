"""Scripts in forked processes: as if they had been started by a shell, but with torch there from the start."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepcompress.side_by_side.warm import Script, Warm
from tests.side_by_side.conftest import Pipeline, stage

TELL = """
import json, os, sys
loaded = "torch" in sys.modules
import helper
facts = dict(loaded=loaded, argv=sys.argv, name=__name__, file=__file__, folder=os.getcwd(), said=helper.SAID)
facts |= dict(stage=os.environ.get("DVC_STAGE"), own=os.environ.get("OWN"), leads=os.getpgrp() == os.getpid())
facts |= dict(main=sys.modules["__main__"].__dict__ is globals(), threads=os.environ.get("OMP_NUM_THREADS"))
json.dump(facts, open(sys.argv[1], "w"))
print("out"); print("err", file=sys.stderr)
"""
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def warm() -> Iterator[Warm]:
    made = Warm({"OMP_NUM_THREADS": "1"})
    made.heat()
    return made


def ran(warm: Warm, folder: Path, text: str, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a script."""
    (folder / "some.py").write_text(text)
    script = Script.of(" ".join(["python some.py", *arguments]), ENVIRONMENT, str(folder))
    assert script is not None
    forked = warm.run(script)
    shown = forked.stdout.read()
    return forked.wait(), shown


def test_a_command_becomes_what_a_shell_would_make_of_it() -> None:
    found = Script.of("A=1 B='x y'  python stages/some.py --c 'd e'\n".strip(), ENVIRONMENT, "there")
    assert found == Script(["stages/some.py", "--c", "d e"], {**ENVIRONMENT, "A": "1", "B": "x y"}, "there")


@pytest.mark.parametrize(
    "command",
    [
        "cp a b",
        "python -m some",
        "python",
        "",
        "A=1",
        "python some.py > file",
        "python some.py && python other.py",
        "python some.py $HOME",
        "python some.py data/*.png",
        "python some.py 'open",
        "python3.9 some.py",
    ],
)
def test_what_takes_a_shell_or_another_program_is_left_to_them(command: str) -> None:
    assert Script.of(command, ENVIRONMENT, ".") is None


def test_another_python_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert Script.of("python some.py", {**ENVIRONMENT, "PATH": str(tmp_path)}, ".") is None
    assert Script.of(f"PATH={tmp_path} python some.py", ENVIRONMENT, ".") is None


def test_exit_codes_and_tracebacks_come_back(warm: Warm, tmp_path: Path) -> None:
    assert ran(warm, tmp_path, "import sys; print('one line', file=sys.stderr); sys.exit(2)") == (2, "one line\n")
    code, shown = ran(warm, tmp_path, "raise ValueError('why')")
    assert code == 1
    assert "ValueError: why" in shown
    assert ran(warm, tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == (-signal.SIGKILL, "")


def test_nothing_of_this_package_or_of_an_earlier_script_is_loaded(warm: Warm, tmp_path: Path) -> None:
    look = (
        "import sys, torch; "
        "print(torch.is_grad_enabled(), torch.get_num_threads(), 'deepcompress.runtime' in sys.modules)"
    )
    spoil = "import torch, deepcompress.runtime; torch.set_grad_enabled(False); torch.set_num_threads(3)"
    assert ran(warm, tmp_path, spoil) == (0, "")
    assert ran(warm, tmp_path, look) == (0, "True 1 False\n")


def test_stages_that_are_scripts_run_so_from_the_second_on(pipeline: Pipeline) -> None:
    lib = pipeline.folder / "lib"
    lib.mkdir()
    (lib / "helper.py").write_text("SAID = 'helped'\n")
    (pipeline.folder / "tell.py").write_text(TELL)
    command = "PYTHONPATH=lib OWN='a b' python tell.py {0}"
    pipeline.write(
        {
            "one": stage(command.format("one.json"), ["source"], ["one.json"]),
            "two": stage(command.format("two.json"), ["source", "one.json"], ["two.json"]),
            "timed": stage(command.format("timed.json"), ["two.json"], ["timed.json"]) | {"meta": {"alone": True}},
        }
    )
    shown = pipeline.side_by_side()
    assert "two | out" in shown
    assert "two | err" in shown
    one, two, timed = (pipeline.read_json(f"{name}.json") for name in ("one", "two", "timed"))
    assert [facts.pop("loaded") for facts in (one, two, timed)] == [False, True, False]
    for facts, name in ((one, "one"), (two, "two"), (timed, "timed")):
        assert facts.pop("argv") == ["tell.py", f"{name}.json"]
        assert facts.pop("stage").endswith(name)
        assert Path(facts.pop("file")).name == "tell.py"
    assert timed.pop("threads") == os.environ.get("OMP_NUM_THREADS")
    assert one.pop("threads") == two.pop("threads")
    assert [facts.pop("leads") for facts in (one, two, timed)] == [False, True, False]  # a shell leads the others
    assert one == two == timed
    assert one == {
        **{"name": "__main__", "folder": str(pipeline.folder.resolve()), "said": "helped", "own": "a b"},
        "main": True,
    }
