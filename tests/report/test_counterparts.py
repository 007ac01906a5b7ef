"""Figures and tables of the source report beside ours: each is there once, on the page, judged by what was measured."""

from __future__ import annotations

import dataclasses
import re

import pandas as pd
import pytest

from deepcompress.report import compare, counterparts, page, paper, pruning_counterparts, student_counterparts
from deepcompress.report.blocks import Paragraph, Table
from deepcompress.report.counterpart_rules import AGREES, CONTRADICTS, MISSING, SAME, counted, ordered
from deepcompress.report.sections import counterparts as section
from deepcompress.report.tables import Tables

FIGURES, TABLES = 14, 2


def with_table(data: Tables, name: str, rows: pd.DataFrame) -> Tables:
    return dataclasses.replace(data, extra={**data.extra, name: rows})


def with_accuracy(data: Tables, **intervals: tuple[float, float]) -> Tables:
    models = data.models.set_index("model", drop=False)
    for model, (low, high) in intervals.items():
        models.loc[model, ["top1_pct_low", "top1_pct_high"]] = low, high
    return dataclasses.replace(data, models=models.reset_index(drop=True))


def test_every_figure_and_table_is_there_in_its_order(data: Tables) -> None:
    numbers = [re.sub(r" \(.*\)", "", one.number) for one in counterparts.found(data)]
    wanted = [f"Figure {i + 1}" for i in range(FIGURES)] + [f"Table {i + 1}" for i in range(TABLES)]
    assert list(dict.fromkeys(numbers)) == wanted
    full = [one.number for one in counterparts.found(data)]
    assert len(full) == len(set(full))


def test_a_verdict_is_given_where_something_was_measured_and_nowhere_else(data: Tables, alone: Tables) -> None:
    found = counterparts.found(data)
    assert all(bool(one.here) == (one.verdict != MISSING) for one in found)
    assert sum(bool(one.here) for one in found) >= 13
    assert {one.verdict for one in counterparts.found(alone)} == {MISSING}
    assert section.build(alone) is None


def test_each_stands_in_the_section_that_the_index_leads_to(data: Tables) -> None:
    sections = page.sections(data)
    for one in counterparts.found(data):
        if not one.here:
            continue
        texts = [block.text for block in sections[one.section].blocks if isinstance(block, Paragraph)]
        own = [said for said in texts if said.startswith(f"{one.number} of the source report")]
        assert len(own) == 1, one.number
    (table,) = [block for block in sections["counterparts"].blocks if isinstance(block, Table)]
    assert table.links == tuple(one.section for one in counterparts.found(data))
    html = page.render(sections, data)
    assert '<th scope="row"><a href="#sensitivity">Figure 5</a></th>' in html


def test_a_missing_section_is_not_linked(data: Tables) -> None:
    (lead, table) = section.build(data).blocks  # type: ignore[union-attr]
    html = page.render({"counterparts": dataclasses.replace(section.build(data), blocks=(lead, table))}, data)  # type: ignore[type-var]
    assert 'href="#sensitivity"' not in html
    assert '<th scope="row">Figure 5</th>' in html


def test_the_index_counts_verdicts(data: Tables) -> None:
    section_ = section.build(data)
    assert section_ is not None
    lead = section_.blocks[0]
    assert isinstance(lead, Paragraph)
    found = [one.verdict.split(":")[0] for one in counterparts.found(data)]
    assert found.count(CONTRADICTS) > [one.verdict for one in counterparts.found(data)].count(CONTRADICTS)
    assert f", {found.count(CONTRADICTS)} contradict what was measured here" in lead.text
    assert lead.text.startswith(f"Of {len(found)} figures, tables and parts of them, {found.count(AGREES)} agree")
    assert f"{found.count(MISSING)} were not measured" in lead.text


@pytest.mark.parametrize(
    ("convolutions", "linear", "verdict"), [(90.0, 20.0, AGREES), (20.0, 90.0, CONTRADICTS), (50.0, 50.0, SAME)]
)
def test_figure_4_follows_the_intervals(data: Tables, convolutions: float, linear: float, verdict: str) -> None:
    rows = data.extra["sensitivity/unstructured"].copy()
    rows["top1_pct"] = [convolutions if layer.startswith("features") else linear for layer in rows["layer"]]
    one = pruning_counterparts.figure_4(with_table(data, "sensitivity/unstructured", rows))
    assert one.verdict == verdict
    assert one.sentence.startswith("Figure 4 of the source report: fully connected layers mind")
    assert f"convolutions: {convolutions:.1f} (" in one.sentence
    assert one.sentence.endswith(f"Verdict: {verdict}.")


def test_figure_5_puts_the_one_number_of_its_text_beside_ours(data: Tables) -> None:
    rows = data.extra["sensitivity/structured"]
    deep = rows[rows["sparsity"] == 0.9].assign(sparsity=0.7, top1_pct=43.0)
    one = pruning_counterparts.figure_5(with_table(data, "sensitivity/structured", pd.concat([rows, deep])))
    assert "keeps 24.7 % at 70 % (40 % of its baseline)" in one.paper
    assert "features.4 keeps 43.0 (40.1 to 45.9) % at 70 %, 49 % of the baseline" in one.here


def test_figures_1_to_3_follow_the_histograms(data: Tables) -> None:
    bins = [(-3, -1, 1), (-1, 1, 2), (1, 3, 1)]
    rows = [("dense", *one) for one in bins] + [("masked", -3, -1, 0), ("masked", -1, 1, 2), ("masked", 1, 3, 0)]
    table = pd.DataFrame(rows, columns=["state", "low", "high", "count"]).assign(layer="features.0")
    gathered = with_table(data, "weights/pruned/unstructured-0.25", table)
    assert pruning_counterparts.figure_1(gathered).verdict == AGREES
    assert "0.00 standard deviations from zero (features.0)" in pruning_counterparts.figure_1(gathered).here
    two = pruning_counterparts.figure_2(gathered)
    assert (two.verdict, "100.0 % of the weights" in two.here) == (AGREES, True)
    moved = table.assign(low=table["low"] + 4, high=table["high"] + 4)
    shifted = with_table(data, "weights/pruned/unstructured-0.25", moved)
    assert pruning_counterparts.figure_1(shifted).verdict == CONTRADICTS
    assert pruning_counterparts.figure_3(data).verdict == f"{CONTRADICTS}: what gathers there is the zeros alone"


def test_figure_7_counts_the_models_whose_difference_agrees(data: Tables) -> None:
    theirs = paper.pruned(data)
    assert pruning_counterparts.figure_7(data).verdict == CONTRADICTS
    points = theirs["pruned/structured-0.25"] - theirs["baseline"]
    models = data.models.copy()
    own = models["model"] == "pruned/structured-0.25"
    models.loc[own, ["difference_points_low", "difference_points_high"]] = points - 1, points + 1
    found = pruning_counterparts.figure_7(dataclasses.replace(data, models=models))
    assert found.verdict == "agrees in 1 of 2 models"
    assert "pruned/structured-0.25 26.38 %" in found.paper
    assert compare.agreement(data.models.head(0), theirs) == MISSING


def test_figure_8_compares_shares_of_zeros_only_where_they_are_shares_of_the_same(data: Tables) -> None:
    found = pruning_counterparts.figure_8_storage(data)
    assert "24.9 % zeros (unstructured), 1.8 % zeros (structured) of 492.7 MiB" in found.paper
    assert found.here.startswith("25.0 % zeros (unstructured), 25.0 % zeros (structured)")
    assert found.verdict.startswith("agrees for unstructured; not comparable for structured, because convolutions")


@pytest.mark.parametrize(("ms", "word"), [(5.0, AGREES), (10.0, SAME), (20.0, CONTRADICTS)])
def test_figure_8_s_times_follow_the_quartiles(data: Tables, ms: float, word: str) -> None:
    rows = data.extra["benchmark/latency"]
    own = rows[rows["engine"] == "pytorch"].assign(
        model="pruned/structured-0.25", latency_ms_p50=ms, latency_ms_p25=ms - 0.1, latency_ms_p75=ms + 0.1,
        speedup=10 / ms,
    )  # fmt: skip
    found = pruning_counterparts.figure_8_time(with_table(data, "benchmark/latency", pd.concat([rows, own])))
    assert found.verdict == f"{word} (structured)"


def test_figure_9_counts_its_aspects(data: Tables) -> None:
    found = pruning_counterparts.figure_9(data)
    assert found.verdict.startswith("agrees in ")
    assert "of 7 aspects" in found.verdict
    assert "3 not measured here" in found.verdict


def test_tables_1_and_2_are_judged_by_the_order_of_the_layers(data: Tables) -> None:
    theirs = data.paper["pruned"]["structured"]["assigned"]
    rows = pd.DataFrame({"layer": [f"features.{4 * i}" for i in range(8)], "achieved_sparsity": list(theirs.values())})
    rows = pd.concat([rows, pd.DataFrame({"layer": ["Overall"], "achieved_sparsity": [0.25]})])
    same = pruning_counterparts.table_2(with_table(data, "allocation/pruned/structured-0.25", rows))
    assert same.verdict == AGREES
    turned = rows.assign(achieved_sparsity=1 - rows["achieved_sparsity"])
    found = pruning_counterparts.table_2(with_table(data, "allocation/pruned/structured-0.25", turned))
    assert found.verdict == CONTRADICTS
    assert "of 28 pairs of layers that it tells apart, 0 are in its order, 28 in the reverse" in found.here
    assert pruning_counterparts.table_1(data).verdict.startswith("not comparable, because")


def test_students_without_any_order_told_apart_are_not_told_apart(data: Tables) -> None:
    wide = {f"students/{method}-vgg16": (10.0, 99.0) for method in ("crd", "dkd", "hint", "logit")}
    assert student_counterparts.figure_12_accuracy(with_accuracy(data, **wide)).verdict == SAME
    better = wide | {"students/hint-vgg16": (99.5, 99.9)}  # first of the four in the source report
    found = student_counterparts.figure_12_accuracy(with_accuracy(data, **better))
    assert found.verdict == "agrees in 3 of 6 pairs of students"
    assert "students 85.8 to 86.8 %" in found.here


def test_figure_11_names_both_ranges(data: Tables) -> None:
    found = student_counterparts.figure_11(data)
    assert found.paper == "PTQ 61.64 to 61.98 %, QAT 61.98 to 64.90 %"
    assert found.here.startswith("PTQ 79.80 to 87.30 %, QAT 86.20 to 87.70 %")
    assert re.fullmatch(r"agrees in \d of 6 models", found.verdict)


def test_orders_leave_out_what_the_first_does_not_tell_apart() -> None:
    assert ordered({"a": 1, "b": 2, "c": 2}, {"a": 0.1, "b": 0.3, "c": 0.1}) == (1, 0, 1)
    assert ordered({"a": 1, "b": 2}, {"a": 5, "b": 4}) == (0, 1, 0)
    assert ordered({"a": 1}, {"b": 1}) == (0, 0, 0)


def test_counts_become_a_word_where_all_or_none_agree() -> None:
    assert [counted(seen, 3, "models") for seen in (3, 0, 2)] == [AGREES, CONTRADICTS, "agrees in 2 of 3 models"]
