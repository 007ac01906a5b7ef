"""What the page says of attention: by intervals, beside the source report, and nothing where nobody looked."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from deepcompress.report import attention, strips
from deepcompress.report.blocks import Paragraph, Table
from deepcompress.report.sections import attention as section
from deepcompress.report.tables import Tables


@pytest.fixture
def with_students(data: Tables) -> Tables:
    """The same, and two students that look elsewhere, of which `dkd-vgg16` is the more accurate."""
    extra = dict(data.extra)
    for name in ("attention", "colour", "strips"):
        rows = extra[f"explain/{name}"]
        last = rows[rows["model"] == "pruned/structured-0.25"]
        news = {"ssim": 0.21, "ssim_low": 0.19, "ssim_high": 0.7} if name == "attention" else {}
        more = [
            last.assign(model=f"students/{student}", **news, **({"top1_pct": top1} if name == "colour" else {}))
            for student, top1 in (("dkd-vgg16", 92.0), ("independent", 91.0))
        ]
        extra[f"explain/{name}"] = pd.concat([rows, *more], ignore_index=True)
    return dataclasses.replace(data, extra=extra)


def test_of_students_the_most_accurate_is_drawn(with_students: Tables) -> None:
    rows = attention.table(with_students)
    assert attention.best_student(rows) == "students/dkd-vgg16"
    drawn = set(attention.maps(with_students)["model"])
    assert "students/dkd-vgg16" in drawn
    assert "students/independent" not in drawn
    (axes,) = attention.figure(rows, "title").axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [*attention.compressed(rows)["model"], "students/dkd-vgg16"]


def test_the_finding_is_about_compressed_models_alone(data: Tables, with_students: Tables) -> None:
    built, plain = section.build(with_students), section.build(data)
    assert built is not None
    assert plain is not None
    assert built.blocks[0] == plain.blocks[0]


def test_models_above_another_training_are_counted_by_intervals(data: Tables, with_students: Tables) -> None:
    said = attention.beside_another_training(attention.table(with_students))
    assert said == (
        "A network trained apart from the baseline, students/independent, comes to SSIM 0.21 (0.19 to 0.70); "
        "2 of 3 compressed models lie above that, intervals apart."
    )
    built = section.build(data)
    assert built is not None
    assert not any(isinstance(block, Paragraph) and "trained apart" in block.text for block in built.blocks)


def test_other_colours_are_told_apart_by_intervals(data: Tables) -> None:
    rows, baseline = attention.table(data), attention.baseline_colours(data)
    assert attention.in_other_colours(rows, baseline) == (
        "In other colours the baseline's top-1 falls from 85.0 to 40.0 % (n = 500); compressed models come to between "
        "40.0 % (pruned/structured-0.25) and 40.0 % (quantized/ptq-int8), 0 of 3 with an interval apart from the "
        "baseline's."
    )
    high = rows.assign(jittered_top1_pct_low=np.where(rows["model"] == "quantized/ptq-int8", 44.5, 36.0))
    assert ", 1 of 3 with" in attention.in_other_colours(high, baseline)
    low = rows.assign(jittered_top1_pct_high=np.where(rows["model"] == "quantized/ptq-int8", 44.0, 35.5))
    assert ", 2 of 3 with" in attention.in_other_colours(low, baseline)


def test_the_table_begins_with_the_baseline_and_says_what_no_aim_would_give(data: Tables) -> None:
    built = section.build(data)
    assert built is not None
    (table,) = [block for block in built.blocks if isinstance(block, Table)]
    assert table.rows[0] == ("baseline", "–", "–", "52.0", "40.0 (36.0 to 44.0)", "45.0 (41.0 to 49.0)")
    assert len(table.rows) == 4
    assert "covers 20.0 %" in table.caption


def test_an_empty_map_is_named_and_a_missing_similarity_is_not_a_number() -> None:
    ones = np.ones((4, 4), np.uint8)
    assert strips._note(0 * ones, float("nan")) == "empty map"
    assert strips._note(ones, float("nan")) == ""
    assert strips._note(ones, 0.5) == "SSIM 0.50"


def test_the_finding_names_both_ends(data: Tables) -> None:
    assert attention.finding(attention.table(data)) == (
        "quantized/ptq-int8 looks most like the baseline (SSIM 0.99), pruned/structured-0.25 least (0.60; n = 190)"
    )


def test_without_a_usable_map_the_finding_says_so(data: Tables) -> None:
    assert "No map" in attention.finding(attention.table(data).assign(ssim=np.nan))


def test_pruning_is_held_against_training_on_alone(data: Tables) -> None:
    rows = attention.table(data)

    def beside(low: float, high: float) -> str:
        control = rows.iloc[:1].assign(model=attention.TRAINED_ON, ssim=(low + high) / 2, ssim_low=low, ssim_high=high)
        return attention.beside_training_on(pd.concat([rows, control]))

    assert attention.beside_training_on(rows) == ""
    said = beside(0.87, 0.89)
    assert "SSIM 0.88 (0.87 to 0.89); unstructured pruning at 25 % is not told apart from that" in said
    assert "structured pruning at 25 % moves them further." in said
    assert "unstructured pruning at 25 % is not told apart" in beside(0.9, 0.95)
    assert beside(0.5, 0.55).count("moves them less far") == 2


def test_the_baseline_s_maps_come_first(data: Tables) -> None:
    assert attention.maps(data)["model"].tolist()[0] == "baseline"
    built = section.build(data)
    assert built is not None
    assert [picture.name for picture in built.pictures] == ["attention_strip", "attention"]


def test_maps_are_drawn_in_their_own_order_whatever_the_plan_s(with_students: Tables) -> None:
    maps = with_students.extra["explain/strips"].iloc[::-1]
    turned = dataclasses.replace(with_students, extra=with_students.extra | {"explain/strips": maps})
    expected = [
        "baseline", "pruned/unstructured-0.25", "pruned/structured-0.25", "quantized/ptq-int8", "students/dkd-vgg16",
    ]  # fmt: skip
    drawn = attention.maps(turned)
    assert drawn["model"].tolist() == expected
    (axes,) = strips.strip(turned, drawn, "strip", "{teacher} {role}").figure.axes
    assert [one.get_text() for one in axes.get_yticklabels()] == ["image", *expected]


def test_students_alone_make_no_section(with_students: Tables) -> None:
    rows = with_students.extra["explain/attention"]
    extra = with_students.extra | {"explain/attention": rows[rows["model"].str.startswith("students/")]}
    assert section.build(dataclasses.replace(with_students, extra=extra)) is None


@pytest.mark.parametrize("missing", ["attention", "colour"])
def test_without_maps_or_colours_there_is_no_section(data: Tables, missing: str) -> None:
    extra = {key: rows for key, rows in data.extra.items() if key != f"explain/{missing}"}
    assert section.build(dataclasses.replace(data, extra=extra)) is None
