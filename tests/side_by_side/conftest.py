"""A pipeline of shell commands that stands for ours: uncached outputs, a matrix, a folder as dependency, a metric."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.house import ROOT


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

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start python on a module."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # `python` is this one
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PATH": path}
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run python on a module; returns what it printed, and fails unless it ends with `code`."""
        process = self.start(*arguments)
        shown, _ = process.communicate()
        assert process.returncode == code, shown
        return shown

    def side_by_side(self, *arguments: str, code: int = 0) -> str:
        """Run the stages two at a time."""
        return self.run("deepcompress.side_by_side", "-j", "2", *arguments, code=code)

    def lock(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        return dict(yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"])

    def read_json(self, name: str) -> Any:
        """What a file of the project holds."""
        return json.loads((self.folder / name).read_text())

    def kept(self) -> set[str]:
        """All that lies in DVC's cache, the records of the run cache with it."""
        cache = self.folder / ".dvc/cache/files"
        runs = self.folder / ".dvc/cache/runs"
        return {
            path.relative_to(self.folder).as_posix()
            for folder in (cache, runs)
            for path in folder.rglob("*")
            if path.is_file()
        }


def new_pipeline(folder: Path) -> Pipeline:
    """The pipeline of STAGES, not run yet."""
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=folder, check=True)
    (folder / "source").write_text("shapes\n")
    (folder / ".gitignore").write_text("/teacher\n/baseline\n/students/\n/table\n")  # or DVC adds a file to students
    made = Pipeline(folder)
    made.write(STAGES)
    return made


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return new_pipeline(tmp_path / "pipeline")
