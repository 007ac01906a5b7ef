"""A pipeline of shell commands that stands for ours: uncached outputs, a matrix, a folder as dependency, a metric."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from unittest import mock

import yaml
from click import Command
from click.testing import CliRunner
from dvc.repo import Repo

from deepcompress import code_hash, repro
from tests import processes

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # `python` is this one


def stage(command: str, deps: list[str], outs: list[Any], **more: Any) -> dict[str, Any]:
    return {"cmd": command, "deps": deps, "outs": outs, **more}


STAGES: dict[str, Any] = {
    "plan": stage("cp source plan.txt", ["source"], [{"plan.txt": {"cache": False}}]),
    "teacher": stage("cp plan.txt teacher", ["plan.txt"], ["teacher"]),
    "baseline": stage("cp plan.txt baseline", ["plan.txt"], ["baseline"]),
    "student": {
        "matrix": {"method": ["hint", "crd"]},
        **stage(
            "mkdir -p students && echo ${item.method} | cat teacher - > students/${item.method}",
            ["teacher"],
            ["students/${item.method}"],
        ),
    },
    "evaluate": {
        **stage("cat baseline students/* > table && echo '{\"n\": 1}' > n.json", ["baseline", "students"], ["table"]),
        "metrics": [{"n.json": {"cache": False}}],
    },
}


@dataclass(frozen=True)
class Pipeline:
    """A DVC project in a git repository."""

    folder: Path

    def write(self, stages: dict[str, Any]) -> None:
        """Make dvc.yaml say this."""
        (self.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))

    def start(self, *arguments: str, output: IO[bytes] | int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start python on a module."""
        return processes.start(self.folder, "-m", *arguments, output=output, PATH=PATH)

    def repro(self, *arguments: str, code: int = 0) -> str:
        """Run the stages two at a time, in this process; returns what was printed."""
        return self.invoke(repro.main, "-j", "2", *arguments, code=code)

    def invoke(self, command: Command, *arguments: str, code: int = 0) -> str:
        """Run one of our commands in this process; returns what it printed, and fails unless it ends with `code`."""
        code_hash.imports.cache_clear()
        code_hash.digest.cache_clear()
        with self.entered():
            done = CliRunner().invoke(command, arguments)
        assert done.exit_code == code, done.output
        return done.output

    def dvc_repro(self, *targets: str, **options: bool) -> list[str]:
        """Run the stages as DVC does; returns those that ran."""
        with self.entered(), Repo() as repo:
            return [stage.addressing for stage in repo.reproduce(targets or None, **options)]

    def status(self) -> dict[str, Any]:
        """What is not up to date, as DVC sees it."""
        with self.entered(), Repo() as repo:
            return dict(repo.status())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """While this lasts, this process is in the folder, and `python` is the one that runs the tests."""
        with chdir(self.folder), mock.patch.dict(os.environ, {"PATH": PATH}):
            yield

    def lock(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        return dict(yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"])

    def kept(self) -> set[str]:
        """All that lies in DVC's cache, the records of the run cache with it."""
        found = (path for name in ("files", "runs") for path in (self.folder / ".dvc/cache" / name).rglob("*"))
        return {path.relative_to(self.folder).as_posix() for path in found if path.is_file()}


def new_pipeline(folder: Path) -> Pipeline:
    """The pipeline of STAGES, not run yet."""
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    Repo.init(str(folder)).close()
    (folder / "source").write_text("shapes\n")
    (folder / ".gitignore").write_text("/teacher\n/baseline\n/students/\n/table\n")  # or DVC adds a file to students
    made = Pipeline(folder)
    made.write(STAGES)
    return made
