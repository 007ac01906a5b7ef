"""What models cost to make: spans of families, what a budget pays for, seconds beside it; and how it was made."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest

from deepcompress.plan_table import COLUMNS, PlannedModel
from deepcompress.report import queries
from deepcompress.report.sections import cost
from deepcompress.report.tables import Tables
from tests.report import made_up
from tests.report.sections.looking import tables_of, text_of

SECONDS = {
    "finetune": 100.0,
    "sensitivity@structured": 7.0,
    "prune": 20.0,
    "quantize": 3.0,
    "prune_sweep@structured-0.5": 19.0,
    "train_teacher@vgg16": 200.0,
    "distill@logit-vgg16": 15.0,
    "combine_quantize@prune_quantize": 16.0,
}
PRUNED = {"method": "structured", "sparsity": 0.5, "builds_on": "baseline"}
PLAN = (
    PlannedModel("baseline", "baseline", "finetune", stage="finetune"),
    PlannedModel("masked/structured-0.5", "masked", "prune", stage="prune_sweep@structured-0.5", **PRUNED),
    PlannedModel("shipped/pruned", "shipped", "prune", stage="prune", **PRUNED),
    PlannedModel("shipped/quantized", "shipped", "quantize", sparsity=0.5, builds_on="shipped/pruned",
                 stage="quantize"),
    PlannedModel("teachers/vgg16", "teachers", "train_teacher", stage="train_teacher@vgg16"),
    PlannedModel("students/logit-vgg16", "students", "distill", teacher="teachers/vgg16", stage="distill@logit-vgg16"),
    PlannedModel("combined/prune_quantize", "combined", "quantize", sparsity=0.5, builds_on="shipped/pruned",
                 stage="combine_quantize@prune_quantize"),
    PlannedModel("quantized/ptq-int4", "quantized", "quantize", builds_on="baseline", stage="quantize_sweep@ptq-int4"),
)  # fmt: skip


def test_the_rows_are_the_candidates_with_what_evaluation_counted(data: Tables) -> None:
    rows = queries.costs(data).set_index("model")
    assert list(rows.index) == list(data.candidates.dropna(subset=[queries.TOTAL])["model"])
    counted = data.models.set_index("model").loc[rows.index]
    assert list(rows["own"]) == list(counted["training_tera_macs"])
    assert list(rows["total"]) == list(counted["training_tera_macs_total"])
    baseline = made_up.EPOCHS * made_up.TRAINING_IMAGES * rows.loc["baseline", "macs"] / 1e12
    assert rows.loc["baseline", "total"] == pytest.approx(baseline)


@pytest.mark.parametrize("cost_of_baseline", [None, 0.0])
def test_a_table_without_costs_has_no_section(data: Tables, cost_of_baseline: float | None) -> None:
    models = data.models.copy()
    models.loc[models["model"] == "baseline", queries.TOTAL] = cost_of_baseline
    untold = dataclasses.replace(data, models=models)
    assert queries.costs(untold).empty
    assert [table.folded for table in tables_of(cost.cost(untold))] == ["Time of each stage"]


def test_controls_stand_apart_from_students_with_a_teacher(data: Tables) -> None:
    spans = queries.cost_spans(queries.costs(data))
    assert spans[queries.ALONE][1] < spans["students"][0]
    assert not {"baseline", "teachers"} & set(spans)


def test_a_budget_of_the_baseline_pays_for_rounding_and_not_for_fine_tuning(data: Tables) -> None:
    rows = queries.costs(data)
    bought = set(queries.within_budget(rows, 1.0)["model"])
    assert {"quantized/ptq-int4", "quantized/ptq-int8"} <= bought
    assert not {"baseline", "pruned/structured-0.5", "quantized/qat-int8", "students/dkd-vgg16"} & bought
    assert bought < set(queries.within_budget(rows, 9.0)["model"])


def test_the_section_names_what_each_budget_buys(data: Tables) -> None:
    section = cost.cost(data)
    assert "quantized 1.0× to 1.3×" in text_of(section)[0]
    budgets = tables_of(section)[0]
    assert [row[0] for row in budgets.rows] == ["1.00×", "1.25×", "1.50×", "2.00×", "4.00×"]
    counts = [int(row[1]) for row in budgets.rows]
    assert counts == sorted(counts)


def test_each_model_s_seconds_stand_beside_its_cost(data: Tables) -> None:
    stages = pd.DataFrame({"stage": ["finetune", "quantized@ptq-int8"], "seconds": [58.0, 2.5]})
    timed = dataclasses.replace(data, extra={**data.extra, cost.STAGES: stages})
    every = tables_of(cost.cost(timed))[1]
    cells = {row[0]: dict(zip(every.columns, row, strict=True)) for row in every.rows}
    heads = (cost.OWN_SECONDS, cost.ALL_SECONDS)
    assert [cells["quantized/ptq-int8"][head] for head in heads] == ["2.5", "60.5"]
    assert [cells["students/dkd-vgg16"][head] for head in heads] == ["–", "–"]
    assert cells["quantized/ptq-int8"]["Own cost, 10¹² MACs"] == "0.000"
    untimed = tables_of(cost.cost(dataclasses.replace(data, extra={})))[1]
    assert not {*heads} & {*untimed.columns}


def seconds(data: Tables, took: dict[str, float]) -> dict[str, tuple[float, float]]:
    stages = pd.DataFrame({"stage": list(took), "seconds": list(took.values())})
    plan = pd.DataFrame([{column: getattr(row, column) for column in COLUMNS} for row in PLAN])
    params = {"prune": {"method": "structured"}}
    return cost.seconds(dataclasses.replace(data, params=params, extra={cost.STAGES: stages, cost.PLAN: plan}))


@pytest.mark.parametrize(
    ("model", "own", "total"),
    [
        ("baseline", 100, 100),
        ("masked/structured-0.5", 19, 100 + 7 + 19),
        ("shipped/pruned", 20, 100 + 7 + 20),
        ("shipped/quantized", 3, 100 + 7 + 20 + 3),
        ("teachers/vgg16", 200, 200),
        ("students/logit-vgg16", 15, 200 + 15),
        ("combined/prune_quantize", 16, 100 + 20 + 7 + 16),
    ],
)
def test_a_model_takes_its_stage_and_those_that_it_builds_on(
    data: Tables, model: str, own: float, total: float
) -> None:
    assert seconds(data, SECONDS)[model] == (own, total)


def test_a_stage_that_did_not_run_here_leaves_the_sum_open(data: Tables) -> None:
    assert all(map(math.isnan, seconds(data, SECONDS)["quantized/ptq-int4"]))
    own, total = seconds(data, {"prune": 20.0})["shipped/pruned"]
    assert own == 20
    assert math.isnan(total)
    assert cost.seconds(dataclasses.replace(data, extra={})) == {}


def test_the_longest_stage_comes_first(data: Tables) -> None:
    shown = tables_of(cost.cost(data))[-1]
    assert shown.caption.startswith("2 stages took 1.0 minutes in all")
    assert [cells[0] for cells in shown.rows] == ["finetune", "plan"]
