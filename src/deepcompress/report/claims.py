"""What the source report claims, each beside the measured rows that test it; see claim_rules.py for the verdicts.

A new claim is a function in one of the lists CLAIMS: of pruning, quantization or students, or here of combinations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import pruning_claims, quantization_claims, student_claims, text
from deepcompress.report.claim_rules import FAILS, HOLDS, SAME, Claim, apart, keeps, kept, paired, row_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepcompress.report.tables import Tables

PRUNE_QUANTIZE = "combined/prune_quantize"


def tested(data: Tables) -> list[Claim]:
    """Every claim with its verdict, in the order of the source report."""
    lists = (pruning_claims.CLAIMS, quantization_claims.CLAIMS, student_claims.CLAIMS, CLAIMS)
    found = [claim(data) for claims in lists for claim in claims]
    return sorted(found, key=lambda one: [int(part) for part in one.where.split(".")])


def pruning_and_quantizing(data: Tables) -> Claim:
    said = "Pruning and then quantizing shrinks a model greatly at little loss."
    return keeps(data, "4.10", said, PRUNE_QUANTIZE)


def distilling_and_quantizing(data: Tables) -> Claim:
    said = "A distilled and quantized student is accurate and compact."
    return keeps(data, "4.10", said, "combined/distill_quantize")


def a_teacher_for_pruned_models(data: Tables) -> Claim:
    said = "Pruning and distillation are effective together (a pruned model gains from a teacher)."
    return paired("4.10", said, data, "combined/prune_distill", "shipped/pruned", 1)


def pruning_a_student(data: Tables) -> Claim:
    """A pruned student is none of the default combinations; `combine.models` takes one of this name."""
    said = "Pruning a model after it was distilled costs it more than the steps the other way round."
    return apart("4.10", said, data, "combined/prune_distill", "combined/distill_prune")


def pruning_and_quantizing_is_best(data: Tables) -> Claim:
    """Holds where it keeps to the allowed loss and no smaller combination might; fails where one surely does."""
    said = "Of all combinations, pruning and quantizing is the best balance (the smallest that keeps the accuracy)."
    rows = data.of("combined").dropna(subset=["difference_points_low", "difference_points_high"])
    own = row_of(rows, PRUNE_QUANTIZE)
    if own is None or len(rows) <= 1:
        return Claim("4.11", said)
    verdicts = {str(row["model"]): kept(row, data.max_drop_points) for _, row in rows.iterrows()}
    smaller = [verdicts[model] for model in rows.loc[rows["size_bytes"] < own["size_bytes"], "model"]]
    mine = verdicts[PRUNE_QUANTIZE]
    holds = mine == HOLDS and set(smaller) <= {FAILS}
    verdict = HOLDS if holds else FAILS if mine == FAILS or HOLDS in smaller else SAME
    parts = [
        f"{row['model']}: {text.difference(row)} points, {text.times(row['times_smaller'])} smaller"
        for _, row in rows.iterrows()
    ]
    limit = text.number(data.max_drop_points)
    return Claim("4.11", said, verdict, f"{'; '.join(parts)} ({limit} points may go, n = {int(own['n']):,})")


CLAIMS: tuple[Callable[[Tables], Claim], ...] = (
    pruning_and_quantizing,
    distilling_and_quantizing,
    a_teacher_for_pruned_models,
    pruning_a_student,
    pruning_and_quantizing_is_best,
)
