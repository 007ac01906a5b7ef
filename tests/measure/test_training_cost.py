"""What models cost to make, worked by hand: every epoch or one pass, the teacher's answers, what lies below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deepcompress import files
from deepcompress.errors import UserError
from deepcompress.measure import training_cost
from deepcompress.measure.lineage import Lineage
from deepcompress.measure.training_cost import OWN, TOTAL, Trainings

IMAGES, EPOCHS = 1000, 12
MACS = {
    "baseline": 10_000_000,
    "masked/structured-0.5": 5_000_000,
    "pruned/structured-0.5": 5_000_000,
    "quantized/ptq-int8": 10_000_000,
    "quantized/qat-int8": 10_000_000,
    "shipped/pruned": 6_000_000,
    "shipped/quantized": 6_000_000,
    "teachers/vgg16": 40_000_000,
    "students/independent": 3_000_000,
    "students/dkd-vgg16": 3_000_000,
    "combined/prune_quantize": 6_000_000,
    "combined/prune_distill_quantize": 6_000_000,
}
UNTRAINED = ("masked/structured-0.5", "quantized/ptq-int8", "shipped/quantized")
STEPS = {name: name.split("_") for name in ("prune_quantize", "prune_distill_quantize")}
PARAMS = {"combine": {"teacher": "baseline", "models": STEPS}}
HEAD = "epoch,train_loss,learning_rate,validation_top1_pct,validation_loss\n"


def recipe(*, trainable: str = "all", flip: bool = False, epochs: int = EPOCHS) -> dict[str, Any]:
    return {"trainable": trainable, "epochs": epochs, "augment": {"flip": flip, "crop_padding": 0, "jitter": None}}


def spent(**sections: Any) -> dict[str, tuple[float, float]]:
    """Model -> (own, total), in images times MACs."""
    epochs = {model: 0 if model in UNTRAINED else EPOCHS for model in MACS}
    trained = Trainings(Lineage(tuple(MACS), PARAMS | sections), IMAGES, epochs)
    rows = training_cost.joined([{"model": model, "macs": macs} for model, macs in MACS.items()], trained)
    return {row["model"]: (row[OWN] * 1e12, row[TOTAL] * 1e12) for row in rows}


def own(model: str, **sections: Any) -> float:
    return spent(**sections)[model][0]


def test_the_baseline_costs_epochs_times_images_times_macs() -> None:
    assert spent()["baseline"] == (EPOCHS * IMAGES * MACS["baseline"],) * 2


def test_the_columns_come_behind_the_others_and_hold_every_mac() -> None:
    trained = Trainings(Lineage(("baseline",), {}), 4321, {"baseline": 7})
    assert training_cost.joined([{"model": "baseline", "macs": 987_654_321, "n": 5}], trained) == [
        {"model": "baseline", "macs": 987_654_321, "n": 5, OWN: 29.873580247287, TOTAL: 29.873580247287}
    ]


@pytest.mark.parametrize("model", UNTRAINED)
def test_what_was_not_trained_costs_what_it_builds_on(model: str) -> None:
    baseline = EPOCHS * IMAGES * MACS["baseline"]
    below = baseline + EPOCHS * IMAGES * MACS["shipped/pruned"] * (model == "shipped/quantized")
    assert spent()[model] == (0, pytest.approx(below))


def test_a_pruned_model_costs_its_own_training_and_the_baseline_s() -> None:
    here, total = spent()["pruned/structured-0.5"]
    assert here == EPOCHS * IMAGES * MACS["pruned/structured-0.5"]
    assert total == pytest.approx(here + own("baseline"))


@pytest.mark.parametrize(("flip", "answers"), [(False, 1), (True, EPOCHS)])
def test_a_student_costs_its_teacher_s_training_and_answers(flip: bool, answers: int) -> None:
    found = spent(distill={"student": {"recipe": recipe(flip=flip)}})
    here, total = found["students/dkd-vgg16"]
    assert here == pytest.approx(IMAGES * (EPOCHS * MACS["students/dkd-vgg16"] + answers * MACS["teachers/vgg16"]))
    assert total == pytest.approx(here + found["teachers/vgg16"][0])
    assert found["students/independent"] == (EPOCHS * IMAGES * MACS["students/independent"],) * 2


def test_a_head_on_unchanged_images_costs_one_pass() -> None:
    assert own("baseline", finetune=recipe(trainable="head")) == IMAGES * MACS["baseline"]


@pytest.mark.parametrize("changed", [{"trainable": "all"}, {"trainable": "head", "flip": True}])
def test_whole_networks_and_changed_images_cost_every_epoch(changed: dict[str, Any]) -> None:
    assert own("baseline", finetune=recipe(**changed)) == EPOCHS * IMAGES * MACS["baseline"]


@pytest.mark.parametrize(
    ("model", "sections"),
    [
        ("teachers/vgg16", {"teachers": {"vgg16": {"recipe": recipe(trainable="head")}}}),
        ("pruned/structured-0.5", {"prune": {"finetune": recipe(trainable="head")}}),
        ("shipped/pruned", {"prune": {"finetune": recipe(trainable="head")}}),
        ("quantized/qat-int8", {"quant": {"qat": recipe(trainable="head")}}),
    ],
)
def test_every_family_follows_its_own_recipe(model: str, sections: dict[str, Any]) -> None:
    assert own(model, **sections) == IMAGES * MACS[model]
    assert own("baseline", **sections) == EPOCHS * IMAGES * MACS["baseline"]


def test_students_run_whole_even_where_only_the_head_learns() -> None:
    assert spent(distill={"student": {"recipe": recipe(trainable="head")}}) == spent()


def test_a_second_training_after_a_head_s_counts_whole() -> None:
    found = own("combined/prune_quantize", prune={"finetune": recipe(trainable="head", epochs=2)})
    assert found == pytest.approx((1 + EPOCHS - 2) * IMAGES * MACS["combined/prune_quantize"])


def test_a_teacher_rests_in_the_steps_after_distilling() -> None:
    found = own("combined/prune_distill_quantize", prune={"finetune": recipe(flip=True, epochs=5)})
    student = MACS["combined/prune_distill_quantize"]
    assert found == pytest.approx((EPOCHS * student + 5 * MACS["baseline"]) * IMAGES)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    meta = {"classes": ["a"], "image_size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "source": "s", "checksum": "c"}
    files.write_json(tmp_path / "data/meta.json", {**meta, "counts": {"train": 90, "validation": 10, "heldout": 20}})
    return tmp_path / "data"


def test_epochs_are_read_of_all_but_models_on_the_way(tmp_path: Path, data: Path) -> None:
    files.write_text(tmp_path / "baseline.csv", f"{HEAD}1,1,1,1,1\n2,1,1,1,1\n")
    files.write_text(tmp_path / "quantized/ptq-int8.csv", HEAD)
    models = ["baseline", "masked/structured-0.5", "quantized/ptq-int8"]
    found = training_cost.read(tmp_path, models, {}, data)
    assert (found.images, found.epochs) == (90, {"baseline": 2, "quantized/ptq-int8": 0})
    assert found.lineage == Lineage(tuple(models), {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"baseline\.csv: no such file"),
        ("loss\n1.0\n", r"baseline\.csv: lacks the column epoch; run the stage that makes it again"),
        ("epoch\nsoon\n", r"baseline\.csv: the column epoch must hold whole numbers alone"),
        ("epoch,loss\n1,2\n,2\n", r"baseline\.csv: the column epoch must hold whole numbers alone"),
    ],
)
def test_a_history_that_says_nothing_is_named(tmp_path: Path, data: Path, content: str | None, message: str) -> None:
    if content is not None:
        files.write_text(tmp_path / "baseline.csv", content)
    with pytest.raises(UserError, match=message):
        training_cost.read(tmp_path, ["baseline"], {}, data)
