"""SIGKILL at any moment loses nothing but time: the stage runs again and ends with the bytes of an undisturbed run.

A stage of each file in stages/ is killed with its whole process group twice, once at a random moment of its work and
once before a random one of its writes; DVC with what it runs, too. `python -m pytest -m slow tests/faults` prints the
seed.
"""

import hashlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from deepcompress import forks
from tests import pipeline
from tests.house import ROOT

pytestmark = pytest.mark.slow
COUNTED = ROOT / "tests/faults/counted.py"
SEED = int(os.environ.get("FAULTS_SEED", "20"))
DEADLINE_S = 600.0
LEAST_KILLS = 20
BESIDE = (".scratch", ".git", ".dvc", "src", "tests")  # folders that hold no results
TIMED = {"benchmark"}
NARROWED = {  # a stage of each file is left
    "prune": {"sweep": {"methods": ["unstructured"]}},
    "quant": {"sweep": ["qat-int4", "qat-fp32"]},
    "distill": {"baseline": [], "selected": {"methods": [], "teachers": []}},
    "combine": {"quantize": {}},
}
TRAINED = {"stages/quantize.py": "quantize_sweep@qat-int4"}  # of the stages that run the file


@dataclass
class Lab:
    """A small project with all its results, whose stages run in forks of a process that has loaded the libraries."""

    project: pipeline.Project
    commands: dict[str, list[str]]
    random: random.Random
    results: dict[str, dict[str, str]] = field(default_factory=dict)  # stage -> file -> checksum
    took: dict[str, dict[str, float]] = field(default_factory=dict)
    kills: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.project.folder

    @property
    def told(self) -> Path:
        """Where a stage says that its work starts and what it took."""
        return self.folder.parent / "told.json"

    def start(self, stage: str, kill_at: int = 0) -> BaseProcess:
        """Start a stage; returns once its work starts. It leads a group of its own."""
        self.told.unlink(missing_ok=True)
        words = ["PYTHONPATH=src python", str(COUNTED), str(self.told), str(kill_at), *self.commands[stage]]
        environment = {**self.project.environment, "DVC_STAGE": f"dvc.yaml:{stage}"}
        log = os.open(self.folder.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with Connection(log, readable=False) as output:
            child = forks.forked(" ".join(words), environment, str(self.folder), output)
        assert child is not None, words
        deadline = time.monotonic() + DEADLINE_S
        while not self.told.is_file() and child.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
        return child

    def whole(self, stage: str) -> dict[str, float]:
        """Run a stage to its end; returns its `seconds` and `writes`."""
        child = self.start(stage)
        child.join()
        assert child.exitcode == 0, f"{stage}: {(self.folder.parent / 'log.txt').read_text()[-3000:]}"
        return dict(json.loads(self.told.read_text()))

    def killed(self, stage: str, *, at_write: bool) -> None:
        """Remove the results of a stage, run it and kill it at work; anew where it ended before, at most thrice."""
        for _ in range(3):
            if self._killed(stage, at_write=at_write):
                self.kills.append(stage)
                return
            told = json.loads(self.told.read_text())
            self.took[stage] = {key: min(value, told[key]) for key, value in self.took[stage].items()}

    def _killed(self, stage: str, *, at_write: bool) -> bool:
        for name in self.results[stage]:
            if name != "README.md":
                (self.folder / name).unlink()
        if at_write:
            number = self.random.randint(1, int(self.took[stage]["writes"]))
            child = self.start(stage, number)
            moment = f"before write {number}"
        else:
            share = self.random.random()
            child = self.start(stage)
            time.sleep(share * self.took[stage]["seconds"])
            with suppress(ProcessLookupError):  # it had ended
                os.killpg(child.pid or 0, signal.SIGKILL)
            moment = f"at {100 * share:.0f} %"
        child.join()
        killed = child.exitcode == -signal.SIGKILL
        print(f"{stage}: killed {moment}" if killed else f"{stage}: ended before it was killed")
        return killed

    def files(self) -> dict[str, str]:
        """Checksum of every file of the project beside its code."""
        found = {path.relative_to(self.folder): path for path in self.folder.rglob("*") if path.is_file()}
        kept = {name: path for name, path in found.items() if name.parts[0] not in BESIDE}
        return {str(name): hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(kept.items())}


def planned(project: pipeline.Project) -> dict[str, list[str]]:
    """The command line of each stage, what others need first."""
    asked = (
        "import json, networkx; from dvc.repo import Repo; graph = Repo().index.graph;"
        "order = reversed(list(networkx.lexicographical_topological_sort(graph, key=lambda stage: stage.addressing)));"
        "print(json.dumps([[stage.addressing, stage.cmd] for stage in order]))"
    )
    command = [sys.executable, "-c", asked]
    said = subprocess.run(
        command, cwd=project.folder, env=project.environment, capture_output=True, text=True, check=True
    )
    words = {stage: shlex.split(command) for stage, command in json.loads(said.stdout)}
    return {stage: _script(command[command.index("python") + 1 :]) for stage, command in words.items()}


def _script(command: list[str]) -> list[str]:
    """The file in place of `-m` and a module."""
    return [f"src/{command[1].replace('.', '/')}.py", *command[2:]] if command[0] == "-m" else command


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    project = pipeline.copy(tmp_path_factory.mktemp("killed") / "deepcompress")
    project.set(NARROWED, remove=("teachers.vgg16_jitter", "combine.quantize.prune_distill_quantize"))
    forks.heat("1")
    made = Lab(project, planned(project), random.Random(SEED))
    before = made.files()
    for stage in made.commands:
        made.took[stage] = made.whole(stage)
        after = made.files()
        made.results[stage] = {name: digest for name, digest in after.items() if before.get(name) != digest}
        before = after
    return made


def test_a_killed_stage_ends_with_the_same_bytes_when_it_runs_again(lab: Lab) -> None:
    print(f"seed {SEED}, {len(lab.commands)} stages")
    undisturbed = lab.files()
    of_file = {command[0]: stage for stage, command in lab.commands.items()} | TRAINED
    for stage in sorted({*of_file.values()} - TIMED):
        for at_write in (False, True):
            lab.killed(stage, at_write=at_write)
            lab.whole(stage)
            found = lab.files()
            differing = {name for name in undisturbed | found if undisturbed.get(name) != found.get(name)}
            assert not differing, f"{stage}, seed {SEED}"
    print(f"{len(lab.kills)} kills at work")
    assert len(lab.kills) >= LEAST_KILLS


def test_dvc_killed_with_its_stage_leaves_no_lock_that_stops_the_next_run(lab: Lab) -> None:
    undisturbed = lab.files()
    moments = {
        "data/.fit.partial": "download",
        ".scratch/finetune/*/state.pt": "finetune",
        "models/baseline.safetensors": "finetune",
    }
    for pattern, stage in moments.items():
        for name in lab.results[stage]:
            (lab.folder / name).unlink(missing_ok=True)
        child = lab.project.start("repro", "finetune")
        deadline = time.monotonic() + DEADLINE_S
        while not any(lab.folder.glob(pattern)) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(lab.random.uniform(0, 0.1))
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        print(f"dvc repro finetune: killed at {pattern}" if child.wait() == -signal.SIGKILL else "ended before")
    lab.project.dvc("repro", "finetune")
    found = lab.files()
    assert {name: found.get(name) for name in undisturbed} == undisturbed
    assert "up to date" in lab.project.dvc("repro", "finetune")
