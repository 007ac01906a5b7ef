"""Figures 11 to 14 of the source report, on quantization and distillation, each beside what this run measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import compare, paper, student_claims, students, text
from deepcompress.report.counterpart_rules import SAME, Counterpart, counted, measured, of_claim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deepcompress.report.tables import Tables

SECTION, QUANTIZED = "students", "quantized"


def figure_11(data: Tables) -> Counterpart:
    theirs, rows = paper.quantized(data), data.of(QUANTIZED)
    one = Counterpart("Figure 11", "PTQ and QAT at each format", QUANTIZED, _range(theirs, theirs))
    both = rows[rows["model"].isin(theirs)]
    ours = dict(zip(both["model"], both["top1_pct"], strict=True))
    here = (
        f"{_range(theirs, ours)}, intervals in the table; compared as points to each one's own baseline" if ours else ""
    )
    return measured(one, here, compare.agreement(both, theirs))


def figure_12_accuracy(data: Tables) -> Counterpart:
    """Judged by the orders of two students of one teacher, in which the data set matters less than in accuracies."""
    theirs, found = paper.taught(data), students.orders(data)
    pairs = sum(found.values())
    said = f"{_students(theirs)} (without intervals)"
    one = Counterpart("Figure 12 (left)", "Accuracy of teachers and students", SECTION, said)
    if not pairs:
        return one
    rows = data.models[data.models["model"].isin(theirs)]
    ours = _students(dict(zip(rows["model"], rows["top1_pct"], strict=True)))
    here = (
        f"{ours}, intervals in the table; of {text.count(pairs, 'pair')} of students of one teacher {found['seen']} "
        f"are in its order, {found['reversed']} in the reverse, and {found['open']} are not told apart"
    )
    return measured(one, here, SAME if found["open"] == pairs else counted(found["seen"], pairs, "pairs of students"))


def figure_12_alignment(data: Tables) -> Counterpart:
    """KL divergence as the table prints it; judged by equal answers, which have an interval."""
    theirs = data.paper["students"]["kl_to_teacher"]
    said = f"by its text hint students answer most like their teacher, by its table KL is {_listed(theirs)} nats"
    one = Counterpart("Figure 12 (middle)", "KL divergence to the teacher", SECTION, said)
    rows = students.alignment(data, "vgg16")
    ours = {} if rows.empty else dict(zip(rows["name"].str.removesuffix("-vgg16"), rows["kl_nats"], strict=True))
    here = f"KL is {_listed({name: ours[name] for name in theirs if name in ours})} nats; "
    return of_claim(one, student_claims.hints_answer_most_alike(data), here)


def figure_12_colour(data: Tables) -> Counterpart:
    theirs = data.paper["students"]["jittered_top1_pct"]
    said = f"in other colours {_listed(theirs, 2)} %"
    one = Counterpart("Figure 12 (right)", "Accuracy in other colours", SECTION, said)
    return of_claim(one, student_claims.hints_hold_in_other_colours(data))


def figure_13(data: Tables) -> Counterpart:
    """The table behind figure 12: its verdicts together."""
    said = "the numbers of figure 12 as a table"
    one = Counterpart("Figure 13", "All numbers of distillation", SECTION, said)
    parts = {
        "accuracy": figure_12_accuracy(data),
        "KL": figure_12_alignment(data),
        "SSIM": figure_14(data),
        "other colours": figure_12_colour(data),
    }
    if not any(part.here for part in parts.values()):
        return one
    verdict = "; ".join(f"{name}: {part.verdict}" for name, part in parts.items())
    return measured(one, "the table above, paper and here in columns", verdict)


def figure_14(data: Tables) -> Counterpart:
    theirs = data.paper["students"]["cam_ssim"]
    said = f"hint students look most like their teacher, SSIM {_listed(theirs)}"
    one = Counterpart("Figure 14", "Grad-CAM of teacher and students", SECTION, said)
    return of_claim(one, student_claims.hints_transfer_attention_best(data))


def _listed(values: Mapping[str, float], digits: int = 3) -> str:
    return ", ".join(f"{text.number(value, digits)} ({name})" for name, value in values.items())


def _range(names: Mapping[str, float], values: Mapping[str, float]) -> str:
    """Lowest and highest of the rounded models among some values, by mode."""
    parts = []
    for mode in ("ptq", "qat"):
        found = [values[name] for name in names if name.startswith(f"{QUANTIZED}/{mode}-") and name in values]
        if found:
            parts.append(f"{mode.upper()} {text.number(min(found), 2)} to {text.number(max(found), 2)} %")
    return ", ".join(parts)


def _students(top1: Mapping[str, float]) -> str:
    """Teachers and students in one range each."""
    parts = []
    for family in ("teachers", "students"):
        found = [value for model, value in top1.items() if model.startswith(f"{family}/")]
        if found:
            parts.append(f"{family} {text.number(min(found))} to {text.number(max(found))} %")
    return ", ".join(parts)


COUNTERPARTS: tuple[Callable[[Tables], Counterpart], ...] = (
    figure_11,
    figure_12_accuracy,
    figure_12_alignment,
    figure_12_colour,
    figure_13,
    figure_14,
)
