"""What models cost to make: worked by hand, with what they build on, and what a budget pays for."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest

from deepcompress.report import cost
from deepcompress.report.blocks import Paragraph, Table
from deepcompress.report.sections import cost as section
from deepcompress.report.tables import Tables

MACS, IMAGES, EPOCHS = 9_700_000, 4320, 12  # of made_up's baseline and of every history there
ONE_PASS = MACS * IMAGES / 1e12


def with_params(data: Tables, **sections: Any) -> Tables:
    return dataclasses.replace(data, params={**data.params, **sections})


def recipe(*, trainable: str = "all", flip: bool = False, epochs: int = EPOCHS) -> dict[str, Any]:
    return {"trainable": trainable, "epochs": epochs, "augment": {"flip": flip, "crop_padding": 0, "jitter": None}}


def rows_of(data: Tables) -> pd.DataFrame:
    return cost.table(data).set_index("model")


def test_cost_counts_images_times_macs_and_what_a_model_builds_on(data: Tables) -> None:
    rows = cost.table(data).set_index("model")
    base = rows.loc["baseline"]
    epochs = data.history[data.history["model"] == "baseline"]["epoch"].max()
    assert base["own"] == pytest.approx(epochs * 4320 * base["macs"] / 1e12)
    pruned = rows.loc["pruned/structured-0.5"]
    assert pruned["total"] == pytest.approx(pruned["own"] + base["own"])
    assert rows.loc["quantized/ptq-int8", "own"] == 0


@pytest.mark.parametrize(("flip", "passes"), [(False, 1), (True, None)])
def test_a_student_costs_its_teacher_s_training_and_answers(data: Tables, flip: bool, passes: int | None) -> None:
    recipe = {"augment": {"flip": flip, "crop_padding": 0, "jitter": None}}
    data = dataclasses.replace(data, params={**data.params, "distill": {"student": {"recipe": recipe}}})
    student = next(m for m in data.models["model"] if m.startswith("students/") and m.endswith("-vgg16"))
    rows = cost.table(data).set_index("model")
    teacher = rows.loc["teachers/vgg16"]
    epochs = data.history.groupby("model")["epoch"].max()[student]
    images = 4320 / 1e12
    expected = images * (epochs * rows.loc[student, "macs"] + (passes or epochs) * teacher["macs"])
    assert rows.loc[student, "own"] == pytest.approx(expected)
    assert rows.loc[student, "total"] == pytest.approx(rows.loc[student, "own"] + teacher["own"])


def test_the_baseline_costs_epochs_times_images_times_macs(data: Tables) -> None:
    assert rows_of(data).loc["baseline", "own"] == pytest.approx(EPOCHS * ONE_PASS)


def test_a_head_on_unchanged_images_costs_one_pass(data: Tables) -> None:
    frozen = with_params(data, finetune=recipe(trainable="head"))
    assert rows_of(frozen).loc["baseline", "own"] == pytest.approx(ONE_PASS)


@pytest.mark.parametrize("changed", [{"trainable": "all"}, {"trainable": "head", "flip": True}])
def test_whole_networks_and_changed_images_cost_every_epoch(data: Tables, changed: dict[str, Any]) -> None:
    trained = with_params(data, finetune=recipe(**changed))
    assert rows_of(trained).loc["baseline", "own"] == pytest.approx(EPOCHS * ONE_PASS)


def test_students_run_whole_even_where_only_the_head_learns(data: Tables) -> None:
    same = rows_of(with_params(data, distill={"student": {"recipe": recipe()}}))["own"]
    head = rows_of(with_params(data, distill={"student": {"recipe": recipe(trainable="head")}}))["own"]
    pd.testing.assert_series_equal(same, head)


def test_a_second_training_after_a_head_s_counts_whole(data: Tables) -> None:
    data = with_params(
        data,
        prune={"finetune": recipe(trainable="head", epochs=2)},
        combine={"teacher": "baseline", "models": {"prune_quantize": ["prune", "quantize"]}},
    )
    row = rows_of(data).loc["combined/prune_quantize"]
    assert row["own"] == pytest.approx((1 + EPOCHS - 2) * IMAGES * row["macs"] / 1e12)


def test_a_teacher_rests_in_the_steps_after_distilling(data: Tables) -> None:
    steps = {"prune_distill_quantize": ["prune", "distill", "quantize"]}
    data = with_params(
        data,
        prune={"finetune": recipe(flip=True, epochs=5)},
        combine={"teacher": "baseline", "models": steps},
    )
    row = rows_of(data).loc["combined/prune_distill_quantize"]
    assert row["own"] == pytest.approx((EPOCHS * row["macs"] + 5 * MACS) * IMAGES / 1e12)


def test_a_model_builds_on_its_teacher_or_on_what_it_was_made_from(data: Tables) -> None:
    assert cost.foundations("students/dkd-vgg16", data) == ["teachers/vgg16"]
    assert cost.foundations("students/independent", data) == []
    assert cost.foundations("shipped/quantized", data) == ["shipped/pruned"]
    rows = rows_of(data)
    assert rows.loc["shipped/pruned", "total"] == pytest.approx(rows.loc[["baseline", "shipped/pruned"], "own"].sum())


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
    lead, budgets = (next(b for b in found.blocks if isinstance(b, kind)) for kind in (Paragraph, Table))
    assert isinstance(lead, Paragraph)
    assert "quantized 1.0× to 1.3×" in lead.text
    assert isinstance(budgets, Table)
    assert [row[0] for row in budgets.rows] == ["1.00×", "1.25×", "1.50×", "2.00×", "4.00×"]
    counts = [int(row[1]) for row in budgets.rows]
    assert counts == sorted(counts)
