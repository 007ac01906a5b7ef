"""What the source report claims, each beside the measured rows that test it; see claim_rules.py for the verdicts.

A new claim is a function in CLAIMS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import cost, text
from deepcompress.report.claim_rules import FAILS, HOLDS, Claim, apart, disjoint, keeps, paired, timed
from deepcompress.report.tables import BASELINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepcompress.report.tables import Tables


def tested(data: Tables) -> list[Claim]:
    """Every claim with its verdict, in the order of the source report."""
    return [claim(data) for claim in CLAIMS]


def unstructured_keeps_more(data: Tables) -> Claim:
    said = "At the same sparsity, single zeros keep more accuracy than removed filters."
    return apart("4.3", said, data, "pruned/unstructured-0.25", "pruned/structured-0.25")


def training_restores(data: Tables) -> Claim:
    said = "Training on brings back accuracy that pruning cost."
    return apart("4.3", said, data, "pruned/structured-0.25", "masked/structured-0.25")


def channels_are_faster(data: Tables) -> Claim:
    return timed(data, "4.3", "Removing filters makes inference faster.", "pruned/structured-0.5", faster=True)


def zeros_are_no_faster(data: Tables) -> Claim:
    said = "Single zeros bring little speed on ordinary hardware."
    return timed(data, "4.3", said, "pruned/unstructured-0.5", faster=False)


def sixteen_bits_are_free(data: Tables) -> Claim:
    return keeps(data, "4.4", "Sixteen bits keep the accuracy.", "quantized/ptq-fp16")


def eight_bits_are_free(data: Tables) -> Claim:
    return keeps(data, "4.4", "Eight-bit weights keep the accuracy.", "quantized/ptq-int8")


def four_bits_cost(data: Tables) -> Claim:
    return paired(
        "4.8", "Four-bit weights, rounded afterwards, lose accuracy.", data, "quantized/ptq-int4", BASELINE, -1
    )


def training_beats_rounding(data: Tables) -> Claim:
    said = "Training with rounded weights keeps more than rounding afterwards."
    return paired("4.7", said, data, "quantized/qat-int4", "quantized/ptq-int4", 1)


def rounding_improves(data: Tables) -> Claim:
    said = "Training with rounded weights ends above the float model (61.85 to 64.90 % at 4 bits)."
    return paired("4.4", said, data, "quantized/qat-int4", "quantized/qat-fp32", 1)


def students_fall_short(data: Tables) -> Claim:
    said = "Students (38 to 48 %) end below the same network trained alone (61 %)."
    return paired("4.5", said, data, "students/hint-vgg16", "students/independent", -1)


def hints_are_best(data: Tables) -> Claim:
    said = "Hints make the best student."
    others = data.of("students")
    others = others[~others["name"].str.startswith(("hint", "independent", "label_smoothing"))]
    if others.empty:
        return Claim("4.5", said)
    best = others.sort_values(["top1_pct", "model"]).iloc[-1]["model"]
    return apart("4.5", said, data, "students/hint-vgg16", best)


def larger_teachers_help_crd(data: Tables) -> Claim:
    return apart(
        "4.5", "A larger teacher makes a better CRD student.", data, "students/crd-vgg19", "students/crd-vgg16"
    )


def hints_hold_in_other_colours(data: Tables) -> Claim:
    said = "Hint students keep more accuracy in other colours than CRD students."
    rows = data.extra.get("explain/colour", pd.DataFrame(columns=["model"])).set_index("model")
    one, other = "students/hint-vgg16_jitter", "students/crd-vgg16_jitter"
    if not {one, other} <= set(rows.index):
        return Claim("4.5", said)
    found = [rows.loc[[model]].iloc[0] for model in (one, other)]
    verdict = disjoint(*(row[["jittered_top1_pct_low", "jittered_top1_pct_high"]] for row in found))
    spelled = [[text.number(row[f"jittered_top1_pct{end}"]) for end in ("", "_low", "_high")] for row in found]
    parts = [f"{row.name}: {top1} ({low} to {high}) %" for row, (top1, low, high) in zip(found, spelled, strict=True)]
    return Claim("4.5", said, verdict, f"{'; '.join(parts)} (n = {int(found[0]['n']):,} validation images)")


def teachers_cost_most(data: Tables) -> Claim:
    said = "Distillation needs the most compute, since a teacher is trained as well."
    rows = cost.table(data)
    families = ("pruned", "quantized", "students")
    if rows.empty or not set(families) <= set(rows["family"]):
        return Claim("4.9", said)
    dearest = {family: rows[rows["family"] == family].sort_values("total").iloc[-1] for family in families}
    parts = [f"{row['model']}: {text.number(row['total'], 2)}·10¹² MACs" for row in dearest.values()]
    most = max(dearest, key=lambda family: float(dearest[family]["total"]))
    return Claim("4.9", said, HOLDS if most == "students" else FAILS, "; ".join(parts))


def pruning_and_quantizing(data: Tables) -> Claim:
    said = "Pruning and then quantizing shrinks a model greatly at little loss: the combination to recommend."
    return keeps(data, "4.10", said, "combined/prune_quantize")


def distilling_and_quantizing(data: Tables) -> Claim:
    said = "A distilled and quantized student is accurate and compact."
    return keeps(data, "4.10", said, "combined/distill_quantize")


def a_teacher_for_pruned_models(data: Tables) -> Claim:
    said = "Pruning and distillation together are less common; pruning may cost the student its capacity."
    return paired("4.10", said, data, "combined/prune_distill", "shipped/pruned", -1)


CLAIMS: tuple[Callable[[Tables], Claim], ...] = (
    unstructured_keeps_more,
    training_restores,
    channels_are_faster,
    zeros_are_no_faster,
    sixteen_bits_are_free,
    eight_bits_are_free,
    rounding_improves,
    students_fall_short,
    hints_are_best,
    larger_teachers_help_crd,
    hints_hold_in_other_colours,
    training_beats_rounding,
    four_bits_cost,
    teachers_cost_most,
    pruning_and_quantizing,
    distilling_and_quantizing,
    a_teacher_for_pruned_models,
)
