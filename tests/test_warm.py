"""Scripts in forked processes: as if they had been started by a shell, but with torch there from the start."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from deepcompress import warm
from tests.toy import PATH, new_pipeline, stage

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


def ran(folder: Path, text: str) -> tuple[int, str]:
    """Exit code and output of a script."""
    (folder / "some.py").write_text(text)
    warm.heat("1")
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = warm.started("PYTHONPATH=src python some.py", {**os.environ, "PATH": PATH}, str(folder), writer)
    assert process is not None
    writer.close()
    with reader, os.fdopen(os.dup(reader.fileno())) as output:
        shown = output.read()
    return warm.ended(process), shown


@pytest.mark.parametrize(
    "command",
    [
        "cp a b",
        "PYTHONPATH=src python -m some",
        "PYTHONPATH=src python",
        "python some.py",
        "",
        "PYTHONPATH=src python some.py > file",
        "PYTHONPATH=src python some.py && python other.py",
        "PYTHONPATH=src python some.py $HOME",
        "PYTHONPATH=src python some.py data/*.png",
        "PYTHONPATH=src python some.py 'a b'",
        "PYTHONPATH=src python3.9 some.py",
    ],
)
def test_what_takes_a_shell_or_another_program_is_left_to_them(command: str) -> None:
    with multiprocessing.Pipe(duplex=False)[1] as writer:
        assert warm.started(command, {"PATH": PATH}, ".", writer) is None


def test_another_python_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o755)
    with multiprocessing.Pipe(duplex=False)[1] as writer:
        assert warm.started("PYTHONPATH=src python some.py", {"PATH": str(tmp_path)}, ".", writer) is None


def test_exit_codes_and_tracebacks_come_back(tmp_path: Path) -> None:
    assert ran(tmp_path, "import sys; print('one line', file=sys.stderr); sys.exit(2)") == (2, "one line\n")
    code, shown = ran(tmp_path, "raise ValueError('why')")
    assert code == 1
    assert "ValueError: why" in shown
    assert ran(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == (-signal.SIGKILL, "")


def test_nothing_of_this_package_or_of_an_earlier_script_is_loaded(tmp_path: Path) -> None:
    look = (
        "import sys, torch; "
        "print(torch.is_grad_enabled(), torch.get_num_threads(), [n for n in sys.modules if 'deepcompress' in n])"
    )
    spoil = "import torch, deepcompress.runtime; torch.set_grad_enabled(False); torch.set_num_threads(3)"
    assert ran(tmp_path, spoil) == (0, "")
    assert ran(tmp_path, look) == (0, "True 1 []\n")


def test_stages_that_are_scripts_run_so_unless_they_are_to_be_alone(tmp_path: Path) -> None:
    pipeline = new_pipeline(tmp_path / "pipeline")
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
