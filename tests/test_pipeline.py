"""The real `dvc repro`, whole, on tiny params."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import pipeline

pytestmark = pytest.mark.smoke
DEADLINE_S = 120.0
MOST_ROWS = 40  # of `dvc metrics diff`


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Project:
    made = pipeline.copy(tmp_path_factory.mktemp("project") / "deepcompress")
    made.dvc("repro")
    return made


def test_a_second_run_says_that_all_is_up_to_date(project: pipeline.Project) -> None:
    assert "Data and pipelines are up to date." in project.dvc("repro")
    assert "Data and pipelines are up to date." in project.dvc("status")


def test_a_forced_run_gives_the_same_hashes_of_all_but_times(project: pipeline.Project) -> None:
    before = timeless(project)
    project.dvc("repro", "--force")
    assert timeless(project) == before


def timeless(project: pipeline.Project) -> dict[str, Any]:
    """dvc.lock without what was timed, and the report that shows it."""
    return {stage: entry for stage, entry in project.lock().items() if stage not in {"benchmark", "report"}}


def test_the_results_are_there(project: pipeline.Project) -> None:
    for name in (
        "metrics/headline.json",
        "metrics/evaluation.csv",
        "report.html",
        "models/baseline.safetensors",
        "models/combined/prune_distill_quantize.safetensors",
        "models/deploy/model.onnx",
        "models/deploy/model_card.md",
        "results/recommendation.json",
        "results/benchmark/latency.csv",
    ):
        assert (project.folder / name).stat().st_size > 0
    assert "baseline" in project.dvc("metrics", "show")


def test_the_headline_is_short_enough_to_review(project: pipeline.Project) -> None:
    headline = json.loads((project.folder / "metrics/headline.json").read_text())
    assert sum(len(numbers) for numbers in headline.values()) <= MOST_ROWS


def test_every_stage_that_ran_left_its_time(project: pipeline.Project) -> None:
    timed = (project.folder / "results/benchmark/stages.csv").read_text()
    assert all(f"\n{stage}," in timed for stage in ("plan", "finetune", "evaluate", "combine_distill@prune_distill"))


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
