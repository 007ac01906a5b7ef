"""The table of all models: it comes back as written, and tells what builds on what."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress.errors import UserError
from deepcompress.plan_table import COLUMNS, Plan, PlannedModel

MODELS = (
    PlannedModel("baseline", "baseline", "finetune", recipe="finetune", stage="finetune"),
    PlannedModel("masked/shipped", "masked", "prune", "structured", 0.37, builds_on="baseline", stage="prune"),
    PlannedModel("quantized/ptq-int4", "quantized", "quantize", "ptq", format="int4", builds_on="baseline"),
    PlannedModel("quantized/qat-fp32", "quantized", "quantize", "qat", builds_on="baseline", recipe="quant.qat"),
    PlannedModel(
        "quantized/qat-int4", "quantized", "quantize", "qat", format="int4", control="quantized/qat-fp32",
        builds_on="baseline", recipe="quant.qat",
    ),
    PlannedModel("teachers/vgg16", "teachers", "train_teacher", recipe="teachers.vgg16.recipe"),
    PlannedModel("students/independent", "students", "distill", "independent", recipe="distill.student.recipe"),
    PlannedModel(
        "students/hint-vgg16", "students", "distill", "hint", teacher="teachers/vgg16", control="students/independent"
    ),
    PlannedModel(
        "combined/prune_distill", "combined", "distill", "hint", 0.37, teacher="teachers/vgg16",
        builds_on="masked/shipped", recipe="prune.finetune",
    ),
)  # fmt: skip


def test_a_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    Plan(MODELS).write(tmp_path / "plan.csv")
    assert tuple(Plan.read(tmp_path / "plan.csv")) == MODELS
    assert (tmp_path / "plan.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_all_below_a_model_is_listed_once_with_itself_and_its_teachers() -> None:
    plan = Plan(MODELS)
    assert plan.below("combined/prune_distill") == [
        "combined/prune_distill", "masked/shipped", "teachers/vgg16", "baseline"
    ]  # fmt: skip
    assert [model.id for model in plan.chain("combined/prune_distill")] == [
        "baseline", "masked/shipped", "combined/prune_distill"
    ]  # fmt: skip


def test_a_model_is_compared_with_its_control_its_teacher_its_start_and_those_one_choice_apart() -> None:
    logit = PlannedModel("students/logit-vgg16", "students", "distill", "logit", teacher="teachers/vgg16")
    assert Plan((*MODELS, logit)).pairs() == [
        ("quantized/qat-int4", "quantized/qat-fp32"),
        ("quantized/qat-int4", "quantized/ptq-int4"),
        ("students/hint-vgg16", "students/independent"),
        ("students/hint-vgg16", "teachers/vgg16"),
        ("combined/prune_distill", "masked/shipped"),
        ("students/logit-vgg16", "teachers/vgg16"),
        ("students/logit-vgg16", "students/hint-vgg16"),
    ]


def test_a_model_without_a_control_has_that_of_what_it_builds_on() -> None:
    rounded = PlannedModel("combined/rounded", "combined", "quantize", "ptq", builds_on="quantized/qat-int4")
    plan = Plan((*MODELS, rounded))
    assert plan.control("combined/rounded") == "quantized/qat-fp32"
    assert plan.control("quantized/ptq-int4") is None
    assert ("combined/rounded", "quantized/qat-fp32") in plan.pairs()


def test_a_plan_can_be_told_from_a_table_that_has_its_columns() -> None:
    trained = {model.id: float(model.recipe is not None) for model in MODELS}
    rows = [{"model": name, "training_tera_macs": cost} for name, cost in trained.items()]
    table = [
        {key: float("nan") if cell is None else cell for key, cell in row.items()} for row in Plan(MODELS).joined(rows)
    ]
    plan = Plan.of_table([*table, {"model": "sculpted/x", "family": "sculpted", "step": "chisel"}])
    assert plan.pairs() == Plan(MODELS).pairs()
    assert {model.id: float(model.recipe is not None) for model in plan} == trained


def test_rows_of_other_tables_get_the_columns_of_the_plan() -> None:
    rows = Plan(MODELS).joined([{"model": "quantized/ptq-int4", "n": 3}], ["family", "format"])
    assert rows == [{"model": "quantized/ptq-int4", "n": 3, "family": "quantized", "format": "int4"}]


def test_a_plan_that_does_not_fit_together_is_refused() -> None:
    for models, message in (
        (MODELS[1:2], "needs the model baseline"),
        ((*MODELS, MODELS[0]), "each model once"),
        (MODELS[:1] + MODELS[4:5], "quantized/qat-int4: control quantized/qat-fp32 is no model of the plan"),
    ):
        with pytest.raises(ValueError, match=message):
            Plan(models)
    with pytest.raises(ValueError, match="family must be one of baseline, masked"):
        PlannedModel("x/y", "x", "prune")
    with pytest.raises(ValueError, match="step must be one of finetune"):
        PlannedModel("pruned/y", "pruned", "shrink")


@pytest.mark.parametrize("text", ["", "id\nbaseline\n", "\x00", "id,family,step,sparsity\nbaseline,baseline,prune,x\n"])
def test_a_damaged_plan_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.csv").write_text(text)
    with pytest.raises(UserError, match=r"plan.csv: damaged plan"):
        Plan.read(tmp_path / "plan.csv")


def test_every_model_has_a_file_and_every_file_is_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"baseline.safetensors \(and 8 more\): no such file, but the plan names it"):
        Plan(MODELS).paths(tmp_path)
    plan = Plan(MODELS[:1])
    with pytest.raises(UserError, match=r"baseline.safetensors: no such file, but the plan names it"):
        plan.paths(tmp_path)
    (tmp_path / "baseline.safetensors").touch()
    assert plan.paths(tmp_path) == {"baseline": tmp_path / "baseline.safetensors"}
    (tmp_path / "stray.safetensors").touch()
    with pytest.raises(UserError, match=r"stray.safetensors: no model of the plan"):
        plan.paths(tmp_path)
