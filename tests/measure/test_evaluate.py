"""Every model of the plan is measured, and only what changed is measured again; its rows are worked by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deepcompress.data.heldout import open_heldout
from deepcompress.errors import UserError
from deepcompress.measure import evaluate as measuring
from deepcompress.measure import passes as passing
from deepcompress.measure.evaluate import EXPLAINED, PAIRED, QUALITY, evaluation_row, headline, per_class_rows
from deepcompress.measure.passes import Measurement
from deepcompress.measure.settings import Evaluate
from deepcompress.measure.statistics import wilson_interval
from deepcompress.models import checkpoint
from deepcompress.replicates import unpacked
from tests import plans
from tests.data import inputs
from tests.stages.commands import save_vgg

SETTINGS = Evaluate(batch_size=4, calibration_bins=15)
CPU = torch.device("cpu")
LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
COLUMNS = [
    *("model", "top1_pct", "top1_pct_low", "top1_pct_high", "top5_pct", "n", "cross_entropy_loss"),
    *("calibration_error_pct", "difference_points", "difference_points_low", "difference_points_high", "mcnemar_p"),
    *("agreement_with_baseline_pct", "kl_to_baseline_nats", "parameters", "nonzero_weights", "macs", "size_bytes"),
    "bits_per_weight",
]
BOTH = ("baseline", "pruned/structured-0.25")


@pytest.fixture
def project(project: Path) -> Path:
    """With data/heldout."""
    inputs.write(project / "data", inputs.source(train=12, test=9))
    return project


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were run over the images."""
    seen: list[str] = []
    measure = passing.measure

    def counting(path: Path, *arguments: Any, **more: Any) -> Any:
        seen.append(path.stem)
        return measure(path, *arguments, **more)

    monkeypatch.setattr(passing, "measure", counting)
    return seen


def saved(*models: str, first: int = 0, classes: tuple[str, ...] = inputs.CLASSES) -> dict[str, Path]:
    """A tiny network under each id; another first number, other weights."""
    paths = {model: Path("models", f"{model}.safetensors") for model in models}
    for number, path in enumerate(paths.values(), first):
        save_vgg(path, (2, 2, 3, 3, 4, 4, 4, 4), (5, 5), seed=number, classes=classes)
    return paths


def run(models: dict[str, Path], settings: Evaluate = SETTINGS) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    found, _ = measuring.evaluate(models, [], Path("data/heldout"), settings, CPU)
    assert found["pairs"] == []
    return found["evaluation"], found["per_class"]


def test_a_row_holds_what_a_plain_loop_over_the_images_finds(project: Path) -> None:
    models = saved("baseline")
    loaded = checkpoint.load(models["baseline"])
    heldout = open_heldout(project / "data/heldout")
    right, loss = 0, 0.0
    for image, label in zip(heldout.arrays.images, heldout.arrays.labels, strict=True):
        pixels = torch.tensor(image).permute(2, 0, 1)[None]
        pixels = torch.nn.functional.interpolate(pixels, (32, 32), mode="bilinear", antialias=True)
        with torch.no_grad():
            shares = loaded.model((pixels / 255 - 0.5) / 0.25).softmax(1)
        right += int(shares.argmax() == label)
        loss -= shares[0, label].log().item() / 9
    ((row,), per_class) = run(models)
    assert row["top1_pct"] == pytest.approx(100 * right / 9, abs=0.01)
    assert row["cross_entropy_loss"] == pytest.approx(loss, rel=1e-3)
    assert row["n"] == 9
    assert sum(line["n"] for line in per_class) == 9
    assert sum(line["n"] * line["top1_pct"] for line in per_class) == pytest.approx(100 * right, abs=0.1)


def test_a_second_run_computes_no_pass_and_one_changed_model_costs_one(project: Path, passes: list[str]) -> None:
    models = saved(*BOTH)
    first = run(models)
    assert passes == ["baseline", "structured-0.25"]
    assert run(models) == first
    assert passes == ["baseline", "structured-0.25"]
    saved(BOTH[1], first=2)
    run(models)
    assert passes == ["baseline", "structured-0.25", "structured-0.25"]


def test_other_images_and_other_code_cost_a_pass_and_other_bins_do_not(
    project: Path, passes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = saved("baseline")
    run(models)
    run(models, Evaluate(batch_size=4, calibration_bins=3))
    assert len(passes) == 1
    np.save(project / "data/heldout/images.npy", inputs.pixels(5, 9, 8, 8, 3))
    run(models)
    assert len(passes) == 2
    monkeypatch.setattr("deepcompress.runtime.source_digest", lambda: "another")
    run(models)
    assert len(passes) == 3


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("ant", "bee"), "the model tells 2 classes apart, the held-out data has 3"),
        (("ant", "cat", "bee"), "the model's class 1 is 'cat', the held-out data's is 'bee'"),
    ],
)
def test_a_model_for_other_classes_is_refused(project: Path, classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=rf"baseline\.safetensors: {message}"):
        run(saved("baseline", classes=classes))


def test_a_pair_says_what_the_two_rows_say(project: Path) -> None:
    pair = BOTH[::-1]
    found, right = measuring.evaluate(saved(*BOTH), [pair], project / "data/heldout", SETTINGS, CPU)
    (row,), compared = found["pairs"], found["evaluation"][1]
    assert unpacked(right[pair[0]], 9).sum() == round(0.09 * compared["top1_pct"])
    assert (row["model"], row["reference"]) == pair
    assert all(row[name] == compared[name] for name in ("n", "difference_points", "mcnemar_p"))
    assert row["agreement_pct"] == compared["agreement_with_baseline_pct"]


def measured(*predicted: int, odds: float = 3.0) -> Measurement:
    """A model that gives its answer `odds` times the probability of the other of two classes."""
    logits = torch.zeros(len(predicted), 2)
    logits[torch.arange(len(predicted)), torch.tensor(predicted)] = math.log(odds)
    return Measurement(logits, parameters=100, nonzero_weights=60, macs=5000, size_bytes=410)


BASELINE = measured(0, 0, 0, 0, 1, 1, 0, 0)
OTHER = measured(0, 0, 1, 1, 1, 1, 1, 0)


def test_a_row_has_the_columns_in_order_and_the_baseline_has_no_paired_numbers() -> None:
    row = evaluation_row("baseline", BASELINE, LABELS, baseline=None, calibration_bins=15)
    assert list(row) == COLUMNS
    assert [row[column] for column in PAIRED] == [None] * 6
    assert list(evaluation_row("other", OTHER, LABELS, baseline=BASELINE, calibration_bins=15)) == COLUMNS


def test_a_models_own_numbers_are_those_worked_by_hand() -> None:
    row = evaluation_row("baseline", BASELINE, LABELS, baseline=None, calibration_bins=15)
    low, high = wilson_interval(6, 8)
    assert (row["top1_pct"], row["n"], row["top5_pct"]) == (75.0, 8, 100.0)
    assert (row["top1_pct_low"], row["top1_pct_high"]) == (round(100 * low, 2), round(100 * high, 2))
    assert row["calibration_error_pct"] == 0.0  # says 3/4 and is right in 6 of 8
    assert row["cross_entropy_loss"] == pytest.approx((6 * math.log(4 / 3) + 2 * math.log(4)) / 8, rel=1e-3)
    assert (row["parameters"], row["nonzero_weights"], row["macs"]) == (100, 60, 5000)
    assert (row["size_bytes"], row["bits_per_weight"]) == (410, 32.8)


def test_paired_numbers_are_those_worked_by_hand() -> None:
    row = evaluation_row("other", OTHER, LABELS, baseline=BASELINE, calibration_bins=15)
    assert row["difference_points"] == -12.5  # 5 right of 8, against 6
    assert row["difference_points_low"] < -12.5 < row["difference_points_high"]
    assert row["mcnemar_p"] == 0.5637  # 3 images differ, one in favour: chi squared (2 - 1)^2 / 3
    assert row["agreement_with_baseline_pct"] == 62.5
    # On the 3 other images of 8: KL((3/4, 1/4) || (1/4, 3/4)) = log(3) / 2
    assert row["kl_to_baseline_nats"] == pytest.approx(3 / 8 * math.log(3) / 2, rel=1e-3)


def test_a_copy_of_the_baseline_does_not_differ() -> None:
    row = evaluation_row("copy", BASELINE, LABELS, baseline=BASELINE, calibration_bins=15)
    low, high = (row.pop(f"difference_points_{end}") for end in ("low", "high"))
    assert low == -high < 0  # another 8 images might tell the two apart
    assert [row.get(column) for column in PAIRED] == [0.0, None, None, 1.0, 100.0, 0.0]


def test_a_diverged_model_gets_a_row_without_numbers_that_json_cannot_hold() -> None:
    broken = Measurement(torch.full((8, 2), math.nan), 100, 60, 5000, 410)
    row = evaluation_row("broken", broken, LABELS, baseline=BASELINE, calibration_bins=15)
    assert (row["top1_pct"], row["cross_entropy_loss"], row["calibration_error_pct"]) == (0.0, None, None)
    json.dumps(row, allow_nan=False)


def test_classes_have_a_row_each_even_without_images() -> None:
    rows = per_class_rows("other", OTHER, LABELS, ("ant", "bee", "cat"))
    assert rows == [
        {"model": "other", "class": "ant", "n": 4, "top1_pct": 50.0},
        {"model": "other", "class": "bee", "n": 4, "top1_pct": 75.0},
        {"model": "other", "class": "cat", "n": 0, "top1_pct": None},
    ]


ATTENTION = """model,teacher,role,ssim
pruned/a-0.5,baseline,block3,0.81239
students/hint-vgg16,teachers/vgg16,block3,0.5
students/hint-vgg16,baseline,block3,0.25
students/independent,teachers/vgg16,block3,0.4
students/independent,baseline,block3,
students/hint-vgg16,teachers/vgg16,block4,0.9
"""
COLOUR = """model,n,top1_pct,jittered_top1_pct
baseline,500,90.0,45.0
students/hint-vgg16,500,80.0,41.236
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "attention.csv").write_text(ATTENTION)
    (tmp_path / "colour.csv").write_text(COLOUR)
    return tmp_path


def test_each_model_gets_what_was_found_of_it_at_the_finer_layer(folder: Path) -> None:
    models = ("baseline", "pruned/a-0.5", "students/hint-vgg16", "students/independent", "masked/a-0.5")
    plan = plans.plan([*models, "teachers/vgg16"])
    rows = measuring.with_explained([{"model": model, "n": 7} for model in models], folder, plan)
    assert [list(row) for row in rows] == [["model", "n", *EXPLAINED]] * len(models)
    assert [[row[name] for name in EXPLAINED] for row in rows] == [
        [None, None, 45.0],
        [0.8124, None, None],
        [0.25, 0.5, 41.24],
        [None, None, None],  # a control has no teacher, and this one's maps were empty
        [None, None, None],
    ]


def test_a_missing_table_and_a_missing_column_are_named(folder: Path) -> None:
    (folder / "colour.csv").write_text("model,n\nbaseline,500\n")
    with pytest.raises(UserError, match=r"colour\.csv: lacks the column jittered_top1_pct; run the explain stage"):
        measuring.with_explained([{"model": "baseline"}], folder, plans.plan(["baseline"]))
    (folder / "attention.csv").unlink()
    with pytest.raises(UserError, match=r"attention\.csv: no such file"):
        measuring.with_explained([{"model": "baseline"}], folder, plans.plan(["baseline"]))


def row(model: str, **changes: Any) -> dict[str, Any]:
    values = dict.fromkeys(QUALITY, 50.0) | {"n": 1000, "agreement_with_baseline_pct": 91.2}
    values |= {"difference_points": -1.5, "parameters": 2_345_678, "macs": 9_876_543, "size_bytes": 3 * 2**20}
    values |= {"bits_per_weight": 32.1}
    return {"model": model, **values, **changes}


MODELS = ("baseline", "pruned/control", "pruned/structured-0.25")
PLAN = plans.plan(MODELS, control={"pruned/structured-0.25": "pruned/control"})
ROWS = [row("baseline"), row("pruned/structured-0.25", size_bytes=2**20, top1_pct=48.5, bits_per_weight=8.4)]


def test_a_role_without_its_model_is_left_out_and_the_baseline_must_be_there() -> None:
    numbers = headline(ROWS[:1], [], PLAN)
    assert list(numbers) == ["heldout", "baseline"]
    assert numbers["heldout"] == {"n_images": 1000}
    assert numbers["baseline"]["size_mib"] == 3.0
    assert (numbers["baseline"]["parameters_million"], numbers["baseline"]["macs_million"]) == (2.35, 9.88)
    tiny = headline([row("baseline", parameters=4567, macs=0, size_bytes=4711)], [], PLAN)["baseline"]
    assert (tiny["parameters_million"], tiny["macs_million"], tiny["size_mib"]) == (0.004567, 0.0, 0.004493)
    with pytest.raises(KeyError):
        headline(ROWS[1:], [], PLAN)


def test_a_role_is_compared_with_the_baseline_and_with_its_control() -> None:
    pair = {"model": "pruned/structured-0.25", "reference": "pruned/control", "difference_points": -2.1}
    numbers = headline(ROWS, [pair], PLAN, {"baseline": "baseline", "pruned": "pruned/structured-0.25"})
    assert numbers["pruned"] == {
        "top1_pct": 48.5,
        "points_to_baseline": -1.5,
        "agreement_with_baseline_pct": 91.2,
        "points_to_control": -2.1,
        "times_smaller": 3.0,
        "parameters_million": 2.35,
        "macs_million": 9.88,
        "size_mib": 1.0,
        "bits_per_weight": 8.4,
    }
