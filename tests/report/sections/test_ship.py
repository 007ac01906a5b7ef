"""What to ship: the choice and why, and each exported file."""

from __future__ import annotations

import dataclasses

from deepcompress.report.sections import ship
from deepcompress.report.tables import Tables
from tests.report.sections.looking import folded, tables_of, text_of


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
        "The smallest file of the recommended model, models/deploy/model_int4.onnx (int4), takes 1.43 MiB and gets "
        "86.0 % right; of all files, shipped_int8.onnx agrees least with its model: 98.7 % of the answers are the same."
    ]
    assert table.rows[1] == ("model.onnx", "quantized/qat-int4", "int8", "2.38", "99.40", "0.31", "86.0")
    assert table.caption.endswith("on 1,000 held-out images.")
