"""What the source report claims of distillation (its sections 4.5, 4.9 and 5), each beside what tests it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.measure.statistics import wilson_interval
from deepcompress.report import cost, students, text
from deepcompress.report.claim_rules import Claim, Measure, above, apart, counted, keeps, paired

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepcompress.report.tables import Tables

HINT = "students/hint-vgg16"
FAMILIES = ("pruned", "quantized", "students")


def students_fall_short(data: Tables) -> Claim:
    said = "Students (38 to 48 %) end below the same network trained alone (61 %)."
    return paired("4.5", said, data, HINT, students.INDEPENDENT, -1)


def hints_are_best(data: Tables) -> Claim:
    """Against the best of the source report's other methods, with the same teacher."""
    return _hint_against_the_rest("Hints make the best student.", data, data.models, Measure("top1_pct", " %"))


def hints_answer_most_alike(data: Tables) -> Claim:
    """By equal answers, which have an interval, where the source report takes its KL divergence."""
    said = "Hint students answer most like their teacher (so its text; by its table logit students do)."
    rows = data.extra.get("explain/alignment", pd.DataFrame())
    if not rows.empty:
        rows = rows[rows["teacher"] == "teachers/vgg16"]
        n, right = rows["n"].astype(int), (rows["agreement_pct"] * rows["n"] / 100).round().astype(int)
        ends = [wilson_interval(*counts) for counts in zip(right, n, strict=True)]
        low, high = ([100 * end[side] for end in ends] for side in (0, 1))
        rows = rows.assign(agreement_pct_low=low, agreement_pct_high=high)
    what = Measure("agreement_pct", " % answers equal", images=" validation images")
    return _hint_against_the_rest(said, data, rows, what)


def hints_transfer_attention_best(data: Tables) -> Claim:
    said = "Hint students look where their teacher looks more than others do."
    maps = data.extra.get("explain/attention", pd.DataFrame())
    if not maps.empty:
        maps = maps[(maps["teacher"] == "teachers/vgg16") & (maps["role"] == maps["role"].iloc[0])]
    what = Measure("ssim", " SSIM to the teacher's maps", 3, " validation images")
    return _hint_against_the_rest(said, data, maps, what)


def larger_teachers_help_crd(data: Tables) -> Claim:
    said = "A larger teacher makes a better CRD student."
    return apart("4.5", said, data, "students/crd-vgg19", "students/crd-vgg16")


def hints_hold_in_other_colours(data: Tables) -> Claim:
    said = "Hint students keep more accuracy in other colours than CRD students."
    rows = data.extra.get("explain/colour", pd.DataFrame())
    pair = ("students/hint-vgg16_jitter", "students/crd-vgg16_jitter")
    return above("4.5", said, rows, pair, Measure("jittered_top1_pct", " %", images=" validation images"))


def teachers_cost_most(data: Tables) -> Claim:
    said = "Distillation needs the most compute, since a teacher is trained as well."
    rows = cost.table(data)
    if rows.empty or not set(FAMILIES) <= set(rows["family"]):
        return Claim("4.9", said)
    ordered = rows.sort_values(["total", "model"])
    dearest = {family: ordered[ordered["family"] == family].iloc[-1] for family in FAMILIES}
    evidence = "; ".join(f"{row['model']}: {text.number(row['total'], 2)}·10¹² MACs" for row in dearest.values())
    most = max(dearest, key=lambda family: float(dearest[family]["total"]))
    return counted("4.9", said, f"dearest of each: {evidence}", holds=most == "students")


def students_keep_their_teacher_s_accuracy(data: Tables) -> Claim:
    return keeps(data, "5", "Small students retain the accuracy of their larger teacher.", HINT, "teachers/vgg16")


def _hint_against_the_rest(said: str, data: Tables, rows: pd.DataFrame, what: Measure) -> Claim:
    rest = [f"students/{method}-vgg16" for method in data.paper["students"]["vgg16"] if method != "hint"]
    others = rows[rows["model"].isin(rest)] if not rows.empty else rows
    if others.empty:
        return Claim("4.5", said)
    best = str(others.sort_values([what.column, "model"])["model"].iloc[-1])
    return above("4.5", said, rows, (HINT, best), what)


CLAIMS: tuple[Callable[[Tables], Claim], ...] = (
    students_fall_short,
    hints_are_best,
    hints_answer_most_alike,
    hints_transfer_attention_best,
    larger_teachers_help_crd,
    hints_hold_in_other_colours,
    teachers_cost_most,
    students_keep_their_teacher_s_accuracy,
)
