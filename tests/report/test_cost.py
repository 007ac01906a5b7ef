"""What models cost to make, as the report shows it: spans of families, what a budget pays for, seconds beside it."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from deepcompress.plan_table import PlannedModel
from deepcompress.report import cost
from deepcompress.report.blocks import Paragraph, Table
from deepcompress.report.sections import cost as section
from deepcompress.report.tables import Tables
from tests.report import made_up


def tables_of(data: Tables) -> list[Table]:
    found = section.build(data)
    assert found is not None
    return [block for block in found.blocks if isinstance(block, Table)]


def test_the_rows_are_the_candidates_with_what_evaluation_counted(data: Tables) -> None:
    rows = cost.table(data).set_index("model")
    assert list(rows.index) == [model for model in data.candidates["model"] if model != "sculpted/marble-3"]
    measured = data.models.set_index("model").loc[rows.index]
    assert list(rows["own"]) == list(measured["training_tera_macs"])
    assert list(rows["total"]) == list(measured["training_tera_macs_total"])
    baseline = made_up.EPOCHS * made_up.TRAINING_IMAGES * rows.loc["baseline", "macs"] / 1e12
    assert rows.loc["baseline", "total"] == pytest.approx(baseline)


@pytest.mark.parametrize("cost_of_baseline", [None, 0.0])
def test_a_table_without_costs_has_no_section(data: Tables, cost_of_baseline: float | None) -> None:
    models = data.models.copy()
    models.loc[models["model"] == "baseline", "training_tera_macs_total"] = cost_of_baseline
    untold = dataclasses.replace(data, models=models)
    assert cost.table(untold).empty
    assert section.build(untold) is None


def test_controls_stand_apart_from_students_with_a_teacher(data: Tables) -> None:
    spans = cost.spans(cost.table(data))
    assert spans[cost.ALONE][1] < spans["students"][0]
    assert not {"baseline", "teachers"} & set(spans)


def test_a_budget_of_the_baseline_pays_for_rounding_and_not_for_training_on(data: Tables) -> None:
    rows = cost.table(data)
    bought = set(cost.within(rows, 1.0)["model"])
    assert {"quantized/ptq-int4", "quantized/ptq-int8"} <= bought
    assert not {"baseline", "pruned/structured-0.5", "quantized/qat-int8", "students/dkd-vgg16"} & bought
    assert bought < set(cost.within(rows, 9.0)["model"])


def test_the_section_names_what_each_budget_buys(data: Tables) -> None:
    found = section.build(data)
    assert found is not None
    lead = next(block for block in found.blocks if isinstance(block, Paragraph))
    assert "quantized 1.0× to 1.3×" in lead.text
    budgets = tables_of(data)[0]
    assert [row[0] for row in budgets.rows] == ["1.00×", "1.25×", "1.50×", "2.00×", "4.00×"]
    counts = [int(row[1]) for row in budgets.rows]
    assert counts == sorted(counts)


def test_each_model_s_seconds_stand_beside_its_cost(data: Tables) -> None:
    stages = pd.DataFrame({"stage": ["finetune", "quantize_sweep@ptq-int8"], "seconds": [58.0, 2.5]})
    rows = [
        PlannedModel("baseline", "baseline", "finetune", stage="finetune"),
        PlannedModel("quantized/ptq-int8", "quantized", "quantize", builds_on="baseline",
                     stage="quantize_sweep@ptq-int8"),
        PlannedModel("students/dkd-vgg16", "students", "distill", stage="distill@dkd-vgg16"),
    ]  # fmt: skip
    planned = pd.DataFrame([dataclasses.asdict(row) for row in rows])
    every = tables_of(dataclasses.replace(data, extra={"benchmark/stages": stages, "plan": planned}))[1]
    cells = {row[0]: dict(zip(every.columns, row, strict=True)) for row in every.rows}
    assert [cells["quantized/ptq-int8"][head] for head in section.TIME_HEADS] == ["2.5", "60.5"]
    assert [cells["students/dkd-vgg16"][head] for head in section.TIME_HEADS] == ["–", "–"]
    assert cells["quantized/ptq-int8"]["Own cost, 10¹² MACs"] == "0.000"


def test_where_no_stage_ran_no_seconds_are_told(data: Tables) -> None:
    assert tables_of(dataclasses.replace(data, extra={}))[1].columns == section.HEADS
