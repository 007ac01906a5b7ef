"""What models cost to make: spans of families, what a budget pays for, seconds beside it; and measured times."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from deepcompress.report import queries
from deepcompress.report.sections import cost
from deepcompress.report.tables import Tables
from tests.report import made_up
from tests.report.sections.looking import pictures_of, tables_of, text_of


def test_the_rows_are_the_candidates_with_what_evaluation_counted(data: Tables) -> None:
    rows = queries.costs(data).set_index("model")
    assert list(rows.index) == list(data.candidates.dropna(subset=[queries.TOTAL])["model"])
    counted = data.models.set_index("model").loc[rows.index]
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
    timed = made_up.with_tables(data, {cost.STAGES: stages})
    every = tables_of(cost.cost(timed))[1]
    cells = {row[0]: dict(zip(every.columns, row, strict=True)) for row in every.rows}
    assert (cells["quantized/ptq-int8"]["Its stage, s"], cells["students/dkd-vgg16"]["Its stage, s"]) == ("2.5", "–")
    assert cells["quantized/ptq-int8"]["Own cost, 10¹² MACs"] == "0.000"
    untimed = tables_of(cost.cost(dataclasses.replace(data, extra={})))[1]
    assert "Its stage, s" not in untimed.columns


def test_the_longest_stage_comes_first(data: Tables) -> None:
    shown = tables_of(cost.cost(data))[-1]
    assert shown.caption.startswith("2 stages took 1.0 minutes in all")
    assert [cells[0] for cells in shown.rows] == ["finetune", "plan"]


@pytest.fixture(name="timed")
def with_both_halves(data: Tables) -> Tables:
    """The same, with the model of half the weights that was timed."""
    dense = data.models[data.models["model"] == "pruned/unstructured-0.25"]
    half = dense.assign(model="pruned/unstructured-0.5", name="unstructured-0.5", sparsity=0.5)
    return dataclasses.replace(data, models=pd.concat([data.models, half], ignore_index=True))


def test_zeros_bring_nothing_and_channels_and_integers_do(timed: Tables) -> None:
    assert cost.speed_findings(queries.latency(timed)) == [
        "Zeros alone (pruned/unstructured-0.5) in ONNX Runtime: 1.0× at batch 1 (quartiles overlap).",
        "Removed channels (pruned/structured-0.5) in ONNX Runtime: 2.0× at batch 1.",
        "int8 (baseline) in ONNX Runtime: 2.5× at batch 1.",
        "int4 (quantized/ptq-int4) in ONNX Runtime: 1.2× at batch 1.",
    ]


def test_speed_names_the_machine_and_every_time(data: Tables) -> None:
    section = cost.run(data)
    assert "a CPU, 1 of 2 threads" in pictures_of(section)[0].caption
    rows = tables_of(section)[0].rows
    assert rows[2] == ("baseline", "ONNX Runtime, int8", "1", "4.00 (3.90 to 4.10)", "2.5×")
