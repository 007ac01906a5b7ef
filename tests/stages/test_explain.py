"""The explain stage: six tables on the validation images, the same bytes twice, mistakes in one line."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import Result

from deepcompress.data import store
from deepcompress.data.batches import View
from deepcompress.data.sources import shapes
from deepcompress.models import checkpoint
from stages import explain
from tests import plans
from tests.explain.test_tables import EXPLAIN
from tests.stages.commands import contents, invoke, refused, save_vgg, well, write_params

ARGUMENTS = ["--plan", "plan.csv", "--fit", "data/fit", "--models", "models", "--tables", "results/explain"]
IDS = ["baseline", "masked/structured-0.25", "pruned/structured-0.25", "teachers/vgg16"]
IDS += ["students/independent", "students/logit-vgg16"]
LOOKED_AT = [model for model in IDS if not model.startswith("masked/")]
PARAMS: dict[str, Any] = {
    "data": {
        "source": "shapes",
        "stored_size": 32,
        "validation_fraction": 0.5,
        "shapes": {"train_per_class": 2, "test_per_class": 1},
    },
    "explain": {**EXPLAIN, "images": 12, "robustness": {"noise": 0.1, "fgsm": 0.01, "images": 15}},
}
TABLES = ("alignment", "attention", "colour", "robustness", "strip_images", "strips")


def save(model: str, number: int, view: View) -> None:
    """A network whose logits differ from image to image."""
    path, widths = f"models/{model}.safetensors", (4,) * (13 if model.startswith("teachers") else 8)
    network = save_vgg(path, widths, seed=number, classes=shapes.CLASSES)
    torch.nn.init.normal_(network.classifier[6].weight)
    checkpoint.save(path, network, view=view, classes=shapes.CLASSES, provenance={})


@pytest.fixture
def project(project: Path) -> Path:
    """Params, 20 validation images, a teacher and two students."""
    write_params(seed=0, **PARAMS)
    options = shapes.Options(train_per_class=2, test_per_class=1)
    source = shapes.load(options, stored_size=32, seed=0, workspace=project)
    meta = store.write_fit(project / "data/fit", source, validation_fraction=0.5, seed=0)
    for number, model in enumerate(LOOKED_AT):
        save(model, number, View(32, meta.mean, meta.std))
    plans.write(Path("plan.csv"), IDS)
    return project


def run() -> Result:
    return invoke(explain.main, *ARGUMENTS)


def test_the_tables_agree_and_a_second_run_gives_the_same_bytes(project: Path) -> None:
    written = []
    for _ in range(2):
        well(run())
        written.append(contents("results/explain"))
    assert written[0] == written[1]
    assert [name.removesuffix(".csv") for name in written[0]] == list(TABLES)
    made = {name: pd.read_csv(f"results/explain/{name}.csv") for name in TABLES}
    students = ["students/independent", "students/logit-vgg16"]
    pairs = [("pruned/structured-0.25", "baseline")]
    pairs += [(student, reference) for student in students for reference in ("teachers/vgg16", "baseline")]
    assert [tuple(pair) for pair in made["alignment"][["model", "teacher"]].to_numpy()] == pairs
    assert set(made["alignment"]["n"]) == {20}
    assert made["colour"]["model"].tolist() == LOOKED_AT
    assert made["robustness"][["model", "change"]].to_numpy().tolist() == [
        [model, change] for model in ("baseline", "pruned/structured-0.25") for change in ("noise", "fgsm")
    ]
    assert set(made["robustness"]["n"]) == {15}
    assert made["attention"][["model", "role"]].to_numpy().tolist() == [
        *([model, "block3"] for model, _ in pairs),
        *([model, "block4"] for model in students),
    ]
    beside_baseline = made["attention"]["teacher"] == "baseline"
    assert made["attention"]["ssim_independent"].isna().tolist() == beside_baseline.tolist()
    assert (made["attention"]["n"] + made["attention"]["empty"] == 12).all()
    assert made["attention"]["object_pct"].between(5, 60).all()
    assert len(made["strips"]) == (4 + 3) * 2
    assert len(made["strip_images"]) == 2
    fit = store.open_fit(Path("data/fit"))
    assert set(made["strip_images"]["class"]) <= {fit.meta.classes[label] for label in fit.validation.labels}


def test_a_mistake_ends_in_one_line(project: Path) -> None:
    write_params(seed=0, **{**PARAMS, "explain": {**PARAMS["explain"], "ssim_window": 33}})
    refused(run(), "params.yaml: explain.ssim_window must be at most 32, got 33")
    assert not Path("results").exists()
