"""The evaluate stage: files that agree, and what every model cost to make."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deepcompress import files
from stages import evaluate
from tests import plans
from tests.data import inputs
from tests.stages.commands import invoke, save_vgg, well, write_params

ARGUMENTS = [
    *("--plan", "results/plan.csv", "--heldout", "data/heldout", "--models", "models", "--history", "results/history"),
    *("--table", "evaluation", "metrics/evaluation.csv"),
    *("--table", "per_class", "metrics/per_class.csv"),
    *("--table", "pairs", "metrics/pairs.csv"),
    *("--outcomes", "results/outcomes.json", "--headline", "metrics/headline.json"),
]
PARAMS: dict[str, Any] = {
    "evaluate": {"batch_size": 4, "calibration_bins": 15},
    "finetune": {"trainable": "all", "epochs": 3, "augment": {"flip": True}},
}
HISTORY = "epoch,train_loss,learning_rate,validation_top1_pct,validation_loss\n"


@pytest.fixture
def project(project: Path) -> Path:
    """Params, held-out images, and a plan of two models that are there."""
    write_params(seed=0, **PARAMS)
    inputs.write(project / "data", inputs.source(train=12, test=9))
    models = ["baseline", "pruned/structured-0.25"]
    plans.write(project / "results/plan.csv", models)
    for number, model in enumerate(models):
        rows = "" if number else "1,2.0,0.1,50.0,2.0\n2,1.9,0.1,51.0,1.9\n3,1.8,0.1,52.0,1.8\n"
        files.write_text(project / f"results/history/{model}.csv", HISTORY + rows)
        save_vgg(project / f"models/{model}.safetensors", (2, 2, 3, 3, 4, 4, 4, 4), (5, 5), seed=number)
    return project


def test_the_files_agree_and_every_model_says_what_it_cost_to_make(project: Path) -> None:
    well(invoke(evaluate.main, *ARGUMENTS))
    table = pd.read_csv(project / "metrics/evaluation.csv", index_col="model")
    per_class = pd.read_csv(project / "metrics/per_class.csv")
    headline = json.loads((project / "metrics/headline.json").read_text())
    assert list(table.index) == ["baseline", "pruned/structured-0.25"]
    assert table.loc["baseline", ["difference_points", "mcnemar_p", "kl_to_baseline_nats"]].isna().all()
    empty = table.columns[table.loc["pruned/structured-0.25"].isna()]
    assert set(empty) == {"format", "teacher", "control"}
    assert (table["family"] == ["baseline", "pruned"]).all()
    assert table.loc["baseline", "size_bytes"] == (project / "models/baseline.safetensors").stat().st_size
    assert headline["baseline"]["top1_pct"] == table.loc["baseline", "top1_pct"]
    assert per_class.groupby("model")["n"].sum().to_dict() == dict.fromkeys(table.index, 9)

    seen, training = 9, table.loc["baseline", "training_tera_macs"]  # of 12 images 3 are for validation
    assert training * 1e12 == pytest.approx(3 * seen * table.loc["baseline", "macs"], rel=1e-12)
    assert list(table["training_tera_macs"]) == [training, 0]
    assert list(table["training_tera_macs_total"]) == [training, training]
