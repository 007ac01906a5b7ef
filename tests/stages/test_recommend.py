"""The recommend stage: a choice among real files, and the same bytes at every run."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

from deepcompress.measure import passes
from stages import recommend
from tests import plans
from tests.deploy.conftest import DEPLOY
from tests.stages.commands import contents, invoke, save_vgg, well, write_images, write_params

ARGUMENTS = ["--plan", "results/plan.csv", "--fit", "data/fit", "--models", "models"]
ARGUMENTS += ["--table", "results/recommendation.csv", "--recommendation", "results/recommendation.json"]
LIMITS = {"max_drop_points": 100.0}
MODELS = {"baseline": 4, "pruned/structured-0.5": 2, "masked/structured-0.5": 1, "teachers/vgg16": 3}


@pytest.fixture
def project(project: Path) -> Path:
    """Params, images, and four models of which a masked one is the smallest."""
    limit()
    write_images()
    plans.write(project / "results/plan.csv", MODELS)
    for model, width in MODELS.items():
        save_vgg(project / f"models/{model}.safetensors", (width,) * 8, (5, 5), seed=width)
    return project


def limit(**limits: float | None) -> None:
    evaluate = {"batch_size": 4, "calibration_bins": 15}
    write_params(seed=0, evaluate=evaluate, deploy=DEPLOY | LIMITS | limits)


def run() -> Result:
    return invoke(recommend.main, *ARGUMENTS)


def test_the_smallest_candidate_is_recommended_and_masked_models_are_none(project: Path) -> None:
    said = well(run())
    chosen = json.loads(Path("results/recommendation.json").read_text())
    table = pd.read_csv("results/recommendation.csv", index_col="model")
    assert chosen["model"] == "pruned/structured-0.5"
    assert chosen["reason"] in said
    assert chosen["size_bytes"] == Path("models/pruned/structured-0.5.safetensors").stat().st_size
    assert list(table.index) == ["baseline", "pruned/structured-0.5", "teachers/vgg16"]
    assert table["latency_ms"].isna().all()
    assert table.loc["baseline", "validation_top1_pct"] == chosen["validation"]["baseline_top1_pct"]
    assert (table["n"] == chosen["n"]).all()
    ends = table[["drop_points_low", "drop_points_high"]]
    assert ends.loc["baseline"].isna().all()
    low, high = ends.loc["pruned/structured-0.5"]
    assert low <= chosen["validation"]["drop_points"] <= high


def test_a_second_run_measures_nothing_and_gives_the_same_bytes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    first = contents("results")
    monkeypatch.setattr(passes, "measure", None)
    limit(max_size_mib=100.0)
    well(run())
    limit()
    well(run())
    assert contents("results") == first


def test_a_latency_limit_times_every_candidate_and_says_where(project: Path) -> None:
    limit(max_latency_ms=1e6)
    said = well(run())
    assert (pd.read_csv("results/recommendation.csv")["latency_ms"] > 0).all()
    assert "ms for one image in PyTorch on this machine" in said
