"""What to ship: the choice and why, and each exported file; what models cost to make, and what they run like."""

import dataclasses

import pandas as pd
import pytest

from deepcompress.report import queries
from deepcompress.report.sections import ship
from deepcompress.report.tables import Tables
from tests.report import made_up
from tests.report.sections.looking import folded, pictures_of, tables_of, text_of


def test_the_recommendation_opens_with_its_reason_and_shows_the_front_and_why_others_are_out(data: Tables) -> None:
    section = ship.ship(data)
    assert text_of(section)[:2] == [
        data.notes["recommendation"]["reason"],
        "On the 1,000 held-out images, which it was not chosen on: 87.1 (84.9 to 89.0) %, −0.2 points (95 % interval "
        "−1.3 to +0.9, no significant difference) to the baseline. The runner-up is pruned/structured-0.5.",
    ]
    front, excluded = tables_of(section)[:2]
    assert [row[0] for row in front.rows] == ["quantized/ptq-int4", "quantized/ptq-int8", "pruned/structured-0.5"]
    assert [row[2] for row in front.rows] == ["6.0 (+5.0 to +7.0)", "0.0 (−1.0 to +1.0)", "1.0 (0.0 to +2.0)"]
    assert [row[-1] for row in excluded.rows] == ["6 points lost, at most 1", "2 points lost, at most 1"]


def test_a_recommended_model_without_held_out_numbers_is_said_to_have_none(data: Tables) -> None:
    models = data.models[data.models["model"] != "quantized/ptq-int8"]
    section = ship.ship(dataclasses.replace(data, models=models))
    assert text_of(section)[1].startswith("It was not measured on the held-out images.")


def test_the_files_to_deploy_are_said_in_one_sentence_and_a_row_each(data: Tables) -> None:
    section = folded(ship.ship(data), "deploy")
    (table,) = tables_of(section)
    assert text_of(section) == [
        "The smallest ONNX file of the recommended model, models/deploy/model_int4.onnx (int4), takes 1.43 MiB and "
        "gets 86.0 % right; of all files, shipped_int8.onnx agrees least with its model: 98.7 % of the answers are the "
        "same."
    ]
    assert table.rows[1] == ("model.onnx", "quantized/qat-int4", "int8", "2.38", "99.40", "0.31", "86.0")
    assert table.caption.endswith("on 1,000 held-out images.")


def test_files_that_agree_alike_are_not_ranked(data: Tables) -> None:
    equal = data.extra["deploy/parity"].assign(agreement_pct=100.0)
    (finding,) = text_of(folded(ship.ship(made_up.with_tables(data, {"deploy/parity": equal})), "deploy"))
    assert finding.endswith("; of each file and its model 100.0 % of the answers are the same.")


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
    assert [table.folded for table in tables_of(ship.cost(untold))] == ["Time of each stage"]


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
    section = ship.cost(data)
    assert "quantized 1.0× to 1.3×" in text_of(section)[0]
    budgets = tables_of(section)[0]
    assert [row[0] for row in budgets.rows] == ["1.00×", "1.25×", "1.50×", "2.00×", "4.00×"]
    counts = [int(row[1]) for row in budgets.rows]
    assert counts == sorted(counts)


def test_what_a_budget_buys_is_chosen_on_validation_images(data: Tables) -> None:
    best = "pruned/structured-0.5"  # which others beat on held-out images
    seen = data.choice.assign(
        validation_top1_pct=data.choice["validation_top1_pct"].where(data.choice.model != best, 99)
    )
    budgets = tables_of(ship.cost(made_up.with_tables(data, {"recommendation": seen})))[0]
    assert budgets.rows[-1][2].startswith(f"{best}: 84.2 ")


def test_each_model_s_seconds_stand_beside_its_cost(data: Tables) -> None:
    stages = pd.DataFrame({"stage": ["finetune", "quantized@ptq-int8"], "seconds": [58.0, 2.5]})
    timed = made_up.with_tables(data, {ship.STAGES: stages})
    every = tables_of(ship.cost(timed))[1]
    cells = {row[0]: dict(zip(every.columns, row, strict=True)) for row in every.rows}
    assert (cells["quantized/ptq-int8"]["Its stage, s"], cells["students/dkd-vgg16"]["Its stage, s"]) == ("2.5", "–")
    assert cells["quantized/ptq-int8"]["Own cost, 10¹² MACs"] == "0.000"
    untimed = tables_of(ship.cost(dataclasses.replace(data, extra={})))[1]
    assert "Its stage, s" not in untimed.columns


def test_the_longest_stage_comes_first(data: Tables) -> None:
    shown = tables_of(ship.cost(data))[-1]
    assert shown.caption.startswith("2 stages took 1.0 minutes in all")
    assert [cells[0] for cells in shown.rows] == ["finetune", "plan"]


@pytest.fixture(name="timed")
def with_both_halves(data: Tables) -> Tables:
    """The same, with the model of half the weights that was timed."""
    dense = data.models[data.models["model"] == "pruned/unstructured-0.25"]
    half = dense.assign(model="pruned/unstructured-0.5", name="unstructured-0.5", sparsity=0.5)
    return dataclasses.replace(data, models=pd.concat([data.models, half], ignore_index=True))


def test_zeros_bring_nothing_and_channels_and_integers_do(timed: Tables) -> None:
    assert ship.speed_findings(queries.latency(timed)) == [
        "Zeros alone (pruned/unstructured-0.5) in ONNX Runtime: 1.0× at batch 1 (quartiles overlap).",
        "Removed channels (pruned/structured-0.5) in ONNX Runtime: 2.0× at batch 1.",
        "int8 (baseline) in ONNX Runtime: 2.5× at batch 1.",
        "int4 (quantized/ptq-int4) in ONNX Runtime: 1.2× at batch 1.",
    ]


def test_speed_names_the_machine_and_every_time(data: Tables) -> None:
    section = ship.run(data)
    assert "a CPU, 1 of 2 threads" in pictures_of(section)[0].caption
    rows = tables_of(section)[0].rows
    assert rows[2] == ("baseline", "ONNX Runtime, int8", "1", "4.00 (3.90 to 4.10)", "2.5×")
