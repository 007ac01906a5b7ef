"""The source report's claims: verdicts follow intervals, and what was not measured has none."""

from __future__ import annotations

import dataclasses
import re

import pandas as pd
import pytest

from deepcompress.report import claim_rules, claims, pruning_claims, quantization_claims, student_claims
from deepcompress.report.blocks import Paragraph, Table
from deepcompress.report.sections import claims as section
from deepcompress.report.sections import cost as cost_section
from deepcompress.report.tables import PAIR_COLUMNS, Tables


def pair(low: float, high: float) -> pd.DataFrame:
    row = ("combined/prune_distill", "shipped/pruned", 1000, (low + high) / 2, low, high, 0.01, 90.0)
    return pd.DataFrame([row], columns=list(PAIR_COLUMNS))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.5, 2.0, claim_rules.HOLDS), (-3.0, -1.0, claim_rules.FAILS), (-1.0, 1.0, claim_rules.SAME)],
)
def test_a_paired_claim_follows_its_interval(data: Tables, low: float, high: float, verdict: str) -> None:
    found = claims.a_teacher_for_pruned_models(dataclasses.replace(data, pairs=pair(low, high)))
    assert found.verdict == verdict
    assert "combined/prune_distill against shipped/pruned" in found.evidence
    assert "n = 1,000" in found.evidence


def test_what_was_not_measured_has_no_verdict(alone: Tables) -> None:
    assert {one.verdict for one in claims.tested(alone)} == {claim_rules.MISSING}
    assert section.build(alone) is None
    assert cost_section.build(alone) is None


def timed_as(data: Tables, model: str, low: float, high: float) -> Tables:
    rows = data.extra["benchmark/latency"].copy()
    middle = (low + high) / 2
    rows.loc[rows["model"] == model, ["latency_ms_p25", "latency_ms_p75", "speedup"]] = (low, high, 10 / middle)
    return dataclasses.replace(data, extra={**data.extra, "benchmark/latency": rows})


@pytest.mark.parametrize(
    ("low", "high", "faster", "none"),
    [
        (4.9, 5.1, claim_rules.HOLDS, claim_rules.FAILS),
        (9.0, 11.0, claim_rules.SAME, claim_rules.HOLDS),
        (12.0, 13.0, claim_rules.FAILS, claim_rules.HOLDS),
    ],
)
def test_claims_of_speed_follow_the_quartiles(data: Tables, low: float, high: float, faster: str, none: str) -> None:
    assert pruning_claims.channels_are_faster(timed_as(data, "pruned/structured-0.5", low, high)).verdict == faster
    assert pruning_claims.zeros_are_no_faster(timed_as(data, "pruned/unstructured-0.5", low, high)).verdict == none


def test_int8_is_timed_in_its_own_engine_against_the_dense_float_model(data: Tables) -> None:
    rows = data.extra["benchmark/latency"]
    mine = rows[(rows["model"] == "baseline") & (rows["engine"] == "onnxruntime-int8")]
    rows = pd.concat([rows, mine.assign(model="quantized/ptq-int8")])
    found = quantization_claims.eight_bits_are_faster(
        dataclasses.replace(data, extra={**data.extra, "benchmark/latency": rows})
    )
    assert (found.verdict, "2.5× at batch 1" in found.evidence) == (claim_rules.HOLDS, True)
    assert quantization_claims.eight_bits_are_faster(data).verdict == claim_rules.MISSING


def test_every_claim_names_its_section_and_is_told_once(data: Tables) -> None:
    found = claims.tested(data)
    assert len({one.said for one in found}) == len(found) >= 25
    assert all(one.where[0] in "45" for one in found)
    assert [one.where for one in found if one.where.startswith("4.1")][-2:] == ["4.10", "4.11"]
    assert all(bool(one.evidence) == (one.verdict != claim_rules.MISSING) for one in found)


def row(model: str, at: float, low: float, high: float, **more: object) -> dict[str, object]:
    return {"model": model, "top1_pct": at, "top1_pct_low": low, "top1_pct_high": high, "n": 100, **more}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(81, 90, claim_rules.HOLDS), (79, 90, claim_rules.SAME), (60, 69, claim_rules.FAILS)],
)
def test_rows_are_told_apart_where_intervals_do_not_touch(low: float, high: float, verdict: str) -> None:
    rows = pd.DataFrame([row("one", (low + high) / 2, low, high), row("other", 75, 70, 80)])
    found = claim_rules.above("4.1", "said", rows, ("one", "other"), claim_rules.Measure("top1_pct", " %"))
    assert found.verdict == verdict
    assert found.evidence.endswith("; other: 75.0 (70.0 to 80.0) % (n = 100)")


@pytest.mark.parametrize(
    "rows", [pd.DataFrame(), pd.DataFrame([row("one", 1, 0, 2)]), pd.DataFrame({"model": ["one"]})]
)
def test_rows_that_are_not_there_tell_nothing(rows: pd.DataFrame) -> None:
    found = claim_rules.above("4.1", "said", rows, ("one", "other"), claim_rules.Measure("top1_pct"))
    assert (found.verdict, found.evidence) == (claim_rules.MISSING, "")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-1.0, 0.2, claim_rules.HOLDS), (-1.1, -0.9, claim_rules.SAME), (-3.0, -1.1, claim_rules.FAILS)],
)
def test_accuracy_is_kept_where_the_whole_interval_lies_within_the_limit(low: float, high: float, verdict: str) -> None:
    assert claim_rules.kept(pd.Series({"difference_points_low": low, "difference_points_high": high}), 1.0) == verdict


def test_layers_are_compared_by_kind_and_by_place(data: Tables) -> None:
    early, late = 87 - 40 * 0.9 * (1 + 2) / 2 / 4, 87 - 40 * 0.9 * (3 + 4) / 2 / 4  # as made_up writes them
    kinds = pruning_claims.convolutions_bear_more(data)
    assert kinds.verdict == claim_rules.HOLDS
    assert f"convolutions: {early:.1f} (" in kinds.evidence
    assert f"fully connected layers: {late:.1f} (" in kinds.evidence
    first = pruning_claims.first_layers_are_sensitive(data)
    assert first.evidence.startswith("features.4: 77.0 (74.1 to 79.9) %; features.0: 82.0 (79.1 to 84.9) %")
    assert first.verdict == claim_rules.SAME


def test_attention_is_compared_on_the_finest_layer(data: Tables) -> None:
    found = pruning_claims.zeros_keep_attention(data)
    assert found.verdict == claim_rules.HOLDS
    assert "0.900 (0.880 to 0.910) SSIM" in found.evidence


@pytest.mark.parametrize(("smaller", "verdict"), [(1.28, claim_rules.FAILS), (1.34, claim_rules.HOLDS)])
def test_zeros_save_storage_by_the_bytes_of_the_file(data: Tables, smaller: float, verdict: str) -> None:
    models = data.models.copy()
    own = models["model"] == "pruned/unstructured-0.25"
    models.loc[own, "size_bytes"] = int(data.baseline["size_bytes"] / smaller)
    assert pruning_claims.zeros_save_their_share(dataclasses.replace(data, models=models)).verdict == verdict


def test_training_that_gains_more_at_few_bits_is_told_by_its_intervals(data: Tables) -> None:
    assert quantization_claims.training_helps_few_bits_more(data).verdict == claim_rules.MISSING
    gains = [
        (f"quantized/qat-{name}", f"quantized/ptq-{name}", 1000, at, at - 0.5, at + 0.5, 0.01, 90.0)
        for name, at in (("int4", 3.0), ("fp16", 0.1))
    ]
    found = quantization_claims.training_helps_few_bits_more(
        dataclasses.replace(data, pairs=pd.DataFrame(gains, columns=list(PAIR_COLUMNS)))
    )
    assert found.verdict == claim_rules.HOLDS
    assert found.evidence.startswith("gain at int4: 3.0 (2.5 to 3.5) points; gain at fp16: 0.1")


def test_hints_compete_with_the_best_of_the_source_report_s_methods(data: Tables) -> None:
    assert "students/dkd-vgg16: 86.8" in student_claims.hints_are_best(data).evidence
    models = data.models.copy()
    hint = models["model"] == "students/hint-vgg16"
    models.loc[hint, ["top1_pct", "top1_pct_low", "top1_pct_high"]] = (95.0, 94.0, 96.0)
    assert student_claims.hints_are_best(dataclasses.replace(data, models=models)).verdict == claim_rules.HOLDS


@pytest.mark.parametrize(
    ("own", "other", "verdict"),
    [
        (-0.5, -5.0, claim_rules.HOLDS),
        (-5.0, -5.0, claim_rules.FAILS),
        (-0.5, -0.5, claim_rules.FAILS),
        (-1.0, -5.0, claim_rules.SAME),
    ],
)
def test_the_best_combination_is_the_smallest_that_keeps_accuracy(
    data: Tables, own: float, other: float, verdict: str
) -> None:
    models = data.models.copy()
    for model, at in (("combined/prune_quantize", own), ("combined/prune_distill_quantize", other)):
        columns = [f"difference_points{end}" for end in ("", "_low", "_high")]
        models.loc[models["model"] == model, columns] = (at, at - 0.4, at + 0.4)
    found = claims.pruning_and_quantizing_is_best(dataclasses.replace(data, models=models))
    assert found.verdict == verdict
    assert "24.0× smaller" in found.evidence


def test_equal_answers_to_the_teacher_are_told_apart_by_their_intervals(data: Tables) -> None:
    answers = {"hint-vgg16": 91.4, "logit-vgg16": 70.0, "dkd-vgg16": 60.0, "independent": 99.0}
    rows = pd.DataFrame(
        {
            "model": [f"students/{name}" for name in answers],
            "teacher": "teachers/vgg16",
            "n": 500,
            "agreement_pct": list(answers.values()),
        }
    )

    def judged(some: pd.DataFrame) -> claim_rules.Claim:
        extra = {**data.extra, "explain/alignment": some}
        return student_claims.hints_answer_most_alike(dataclasses.replace(data, extra=extra))

    found = judged(rows)
    assert found.verdict == claim_rules.HOLDS
    assert found.evidence.startswith("students/hint-vgg16: 91.4 (88.6 to 93.6) % answers equal; students/logit-vgg16")
    assert judged(rows.replace(70.0, 91.0)).verdict == claim_rules.SAME
    assert judged(rows.replace(70.0, 98.0)).verdict == claim_rules.FAILS
    assert judged(rows.assign(teacher="teachers/vgg19")).verdict == claim_rules.MISSING


@pytest.mark.parametrize(("pruned", "verdict"), [(30.0, claim_rules.HOLDS), (44.0, claim_rules.SAME)])
def test_robustness_is_tested_in_other_colours(data: Tables, pruned: float, verdict: str) -> None:
    columns = ("model", "n", "jittered_top1_pct", "jittered_top1_pct_low", "jittered_top1_pct_high")
    colour = pd.DataFrame(
        [("baseline", 500, 45.0, 41.0, 49.0), ("pruned/structured-0.25", 500, pruned, pruned - 4, pruned + 4)],
        columns=list(columns),
    )
    extra = {**data.extra, "explain/colour": colour}
    assert pruning_claims.pruned_models_are_less_robust(dataclasses.replace(data, extra=extra)).verdict == verdict


def test_the_section_counts_verdicts_and_shows_techniques_that_are_there(data: Tables) -> None:
    found = section.build(data)
    assert found is not None
    lead, claimed, techniques = found.blocks
    assert isinstance(lead, Paragraph)
    assert isinstance(claimed, Table)
    assert isinstance(techniques, Table)
    counts = [int(number) for number in re.findall(r"(\d+) (?:claims|hold|do not|not told|not measured)", lead.text)]
    assert counts[0] == sum(counts[1:]) == len(claimed.rows)
    cells = {row[0]: dict(zip(techniques.columns, row, strict=True)) for row in techniques.rows}
    assert "Pruning and distillation" not in cells  # made_up has no such model
    rounded = cells["Rounding to 4 bits"]
    assert rounded["Points (95 %)"] == "−7.5 (−8.6 to −6.4)"
    assert (rounded["Smaller"], rounded["Cost"]) == ("7.6×", "1.0×")
