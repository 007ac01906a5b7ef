"""The whole pipeline on tiny params: by `make repro` first, then, with nothing or the same to show, by DVC itself."""

from __future__ import annotations

import json

import pytest

from tests import pipeline

pytestmark = pytest.mark.smoke
AGAIN = ("finetune", "quantize_sweep@qat-int4", "distill@crd-vgg16", "combine_distill@prune_distill", "evaluate")
MOST_ROWS = 40  # of `dvc metrics diff`


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Project:
    made = pipeline.copy(tmp_path_factory.mktemp("project") / "deepcompress")
    made.repro()
    return made


def test_a_second_run_says_that_all_is_up_to_date(project: pipeline.Project) -> None:
    assert "Data and pipelines are up to date." in project.dvc("repro")
    assert "Data and pipelines are up to date." in project.dvc("status")


def test_what_dvc_runs_again_alone_gives_the_same_hashes(project: pipeline.Project) -> None:
    """A few stages; tests/faults/test_kills.py does it with one of each file, slowly."""
    before = project.lock()
    project.dvc("repro", "--force", "--single-item", *AGAIN)
    after = project.lock()
    assert {stage: after[stage]["outs"] for stage in AGAIN} == {stage: before[stage]["outs"] for stage in AGAIN}


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
