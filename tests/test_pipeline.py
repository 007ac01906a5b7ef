"""The real `dvc repro`, whole, on tiny params."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import pipeline

pytestmark = pytest.mark.smoke
DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Project:
    made = pipeline.copy(tmp_path_factory.mktemp("project") / "deepcompress")
    made.dvc("repro")
    return made


def test_a_second_run_says_that_all_is_up_to_date(project: pipeline.Project) -> None:
    assert "Data and pipelines are up to date." in project.dvc("repro")
    assert "Data and pipelines are up to date." in project.dvc("status")


def test_a_forced_run_gives_the_same_hashes(project: pipeline.Project) -> None:
    before = (project.folder / "dvc.lock").read_text()
    project.dvc("repro", "--force")
    assert (project.folder / "dvc.lock").read_text() == before


def test_the_results_are_there(project: pipeline.Project) -> None:
    for name in ("metrics/headline.json", "metrics/evaluation.csv", "report.html", "models/baseline.safetensors"):
        assert (project.folder / name).stat().st_size > 0
    assert "baseline" in project.dvc("metrics", "show")


def test_a_wrong_key_stops_the_run_before_any_work(project: pipeline.Project) -> None:
    path = project.folder / "params.yaml"
    good = path.read_text()
    path.write_text(good.replace("  epochs: 2", "  epochs: 2\n  epoch: 2"))
    try:
        said = project.dvc("repro", code=255)
    finally:
        path.write_text(good)
    assert "error: params.yaml: finetune.epoch is unknown" in said
    assert "Running stage 'download'" not in said
    assert "Traceback" not in said


def wait_until(happened: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not happened():
        assert child.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "nothing happened within the deadline"


def test_a_killed_training_goes_on_and_ends_with_the_same_hashes(project: pipeline.Project, tmp_path: Path) -> None:
    project.set({"finetune": {"epochs": 40}})
    child = project.start("repro", "finetune")
    scratch = project.folder / ".scratch" / "finetune"
    wait_until(lambda: any(scratch.rglob("state.pt")), child)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert any(scratch.rglob("state.pt"))
    resumed = project.dvc("repro", "finetune")
    assert "taken up after epoch" in resumed
    hashes = project.lock()["finetune"]["outs"]
    project.dvc("repro", "--force", "--single-item", "finetune")
    assert project.lock()["finetune"]["outs"] == hashes
    project.set(pipeline.TINY)
