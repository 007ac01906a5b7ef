"""What to use: the recommendation and why, measured times alone, and each exported file."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from deepcompress.report import queries
from deepcompress.report.sections import deploy
from deepcompress.report.tables import Tables
from tests.report.sections.looking import pictures_of, tables_of, text_of


def test_the_recommendation_opens_with_its_reason_and_shows_the_front_and_why_others_are_out(data: Tables) -> None:
    section = deploy.recommendation(data)
    assert text_of(section) == [
        data.notes["recommendation"]["reason"],
        "On the 1,000 held-out images, which it was not chosen on: 87.1 (84.9 to 89.0) %, −0.2 (−1.3 to +0.9) points "
        "to the baseline. The runner-up is pruned/structured-0.5.",
    ]
    front, excluded = tables_of(section)
    assert [row[0] for row in front.rows] == ["quantized/ptq-int4", "quantized/ptq-int8", "pruned/structured-0.5"]
    assert [row[2] for row in front.rows] == ["6.0 (+5.0 to +7.0)", "0.0 (−1.0 to +1.0)", "1.0 (0.0 to +2.0)"]
    assert [row[-1] for row in excluded.rows] == ["6 points lost, at most 1", "2 points lost, at most 1"]


def test_a_recommended_model_without_held_out_numbers_is_said_to_have_none(data: Tables) -> None:
    models = data.models[data.models["model"] != "quantized/ptq-int8"]
    section = deploy.recommendation(dataclasses.replace(data, models=models))
    assert text_of(section)[1].startswith("It was not measured on the held-out images.")


@pytest.fixture(name="timed")
def with_both_halves(data: Tables) -> Tables:
    """The same, with the model of half the weights that was timed."""
    dense = data.models[data.models["model"] == "pruned/unstructured-0.25"]
    half = dense.assign(model="pruned/unstructured-0.5", name="unstructured-0.5", sparsity=0.5)
    return dataclasses.replace(data, models=pd.concat([data.models, half], ignore_index=True))


def test_zeros_bring_nothing_and_channels_and_integers_do(timed: Tables) -> None:
    assert deploy.speed_findings(queries.latency(timed)) == [
        "Zeros alone (pruned/unstructured-0.5) in ONNX Runtime: 1.0× at batch 1 (no significant difference).",
        "Removed channels (pruned/structured-0.5) in ONNX Runtime: 2.0× at batch 1.",
        "int8 (baseline) in ONNX Runtime: 2.5× at batch 1.",
        "int4 (quantized/ptq-int4) in ONNX Runtime: 1.2× at batch 1.",
    ]


def test_every_sparsity_that_was_timed_has_its_sentence(data: Tables) -> None:
    rows = queries.latency(data)
    more = rows[rows["model"] == "pruned/structured-0.5"]
    more = more.assign(model="pruned/structured-0.75", sparsity=0.75, speedup=3.0)
    sentences = deploy.speed_findings(pd.concat([more, rows]))
    assert [sentence for sentence in sentences if sentence.startswith("Removed channels")] == [
        "Removed channels (pruned/structured-0.5) in ONNX Runtime: 2.0× at batch 1.",
        "Removed channels (pruned/structured-0.75) in ONNX Runtime: 3.0× at batch 1.",
    ]


def test_speed_names_the_machine_and_every_time(data: Tables) -> None:
    section = deploy.speed(data)
    assert "a CPU, 1 of 2 threads" in pictures_of(section)[0].caption
    rows = tables_of(section)[-1].rows
    assert rows[2][:4] == ("baseline", "ONNX Runtime, int8", "4.00 (3.90 to 4.10)", "2.5×")


def test_the_source_report_s_times_stand_beside_the_least_pruned_models(timed: Tables) -> None:
    assert queries.least_pruned(queries.latency(timed)) == {}  # nothing pruned was timed in PyTorch
    rows = timed.extra["benchmark/latency"]
    rows = rows.assign(engine=rows["engine"].replace("onnxruntime", "pytorch")).drop_duplicates(["model", "engine"])
    timed = dataclasses.replace(timed, extra={**timed.extra, "benchmark/latency": rows})
    least = queries.least_pruned(queries.latency(timed))
    assert {method: bool(row["differs"]) for method, row in least.items()} == {
        "baseline": False, "unstructured": False, "structured": True
    }  # fmt: skip
    beside = tables_of(deploy.speed(timed))[0]
    assert beside.rows[2][2:4] == ("pruned/structured-0.5", "5.00 (4.90 to 5.10)")
    assert beside.rows[2][5] == "2.00×"


def test_the_files_to_deploy_are_said_in_one_sentence_and_a_row_each(data: Tables) -> None:
    section = deploy.exported(data)
    (table,) = tables_of(section)
    assert text_of(section) == [
        "The smallest of the recommended model, model_int4.onnx (quantized/qat-int4, int4), takes 1.43 MiB and gets "
        "86.0 % right; of all files, shipped_int8.onnx agrees least with its model: 98.7 % of the answers are the same."
    ]
    assert table.rows[1] == ("model.onnx", "quantized/qat-int4", "int8", "2.38", "99.40", "0.31", "86.0")
    assert table.caption.endswith("on 1,000 held-out images.")
