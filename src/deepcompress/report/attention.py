"""Where compressed models look, and how they see other colours, beside the baseline: tables and a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from deepcompress.report import students, style, tables, text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deepcompress.report.tables import Tables

ROW_INCHES = 0.24
STUDENTS, TRAINED_ON = "students/", "pruned/unstructured-0"
# Of each family those that are drawn: figure 6 of the source report first, then one of each kind; see best_student.
SHOWN = (
    "pruned/unstructured-0.25", "pruned/structured-0.25", "shipped/pruned", "quantized/ptq-int8", "quantized/ptq-int4",
    "shipped/quantized", "combined/prune_distill", "combined/distill_quantize",
)  # fmt: skip


def table(data: Tables) -> pd.DataFrame:
    """A row per model but teachers: SSIM to the baseline's maps, its null, and accuracy in other colours."""
    rows, colour = students.explained(data, "attention"), students.explained(data, "colour")
    if rows.empty or colour.empty:
        return pd.DataFrame()
    rows = rows[rows["teacher"] == tables.BASELINE]
    return rows.merge(colour.drop(columns="n"), on="model").reset_index(drop=True)


def compressed(rows: pd.DataFrame) -> pd.DataFrame:
    """Of `table`, the models that are made from the baseline or in its place: all but students."""
    return rows[~rows["model"].str.startswith(STUDENTS)]


def best_student(rows: pd.DataFrame) -> str | None:
    """Of `table`, the student with the highest top-1 on validation images; None if there is none."""
    learners = rows[rows["model"].str.startswith(STUDENTS)]
    return None if learners.empty else str(learners.sort_values(["top1_pct", "model"])["model"].iloc[-1])


def baseline_colours(data: Tables) -> pd.Series:
    """The baseline's row of accuracy in other colours."""
    rows = students.explained(data, "colour")
    return rows[rows["model"] == tables.BASELINE].iloc[0]


def maps(data: Tables) -> pd.DataFrame:
    """The maps to draw: the baseline's, those of SHOWN that there are, and the best student's."""
    images, rows = students.explained(data, "strip_images"), students.explained(data, "strips")
    if images.empty or rows.empty:
        return pd.DataFrame()
    order = (tables.BASELINE, *SHOWN, best_student(table(data)))
    found = rows[(rows["teacher"] == tables.BASELINE) & rows["model"].isin(order)]
    return found.sort_values("model", key=lambda models: models.map(order.index), kind="stable")


def finding(rows: pd.DataFrame) -> str:
    """Which model looks most and least like the baseline, with n."""
    ordered = rows.dropna(subset="ssim").sort_values(["ssim", "model"])
    if ordered.empty:
        return "No map of a compressed model can be compared with the baseline's"
    least, most = ordered.iloc[0], ordered.iloc[-1]
    return (
        f"{most['model']} looks most like the baseline (SSIM {text.number(most['ssim'], 2)}), {least['model']} least "
        f"({text.number(least['ssim'], 2)}; n = {int(most['n']):,})"
    )


def beside_training_on(rows: pd.DataFrame) -> str:
    """Whether pruning at 25 % moves the maps further than training on alone does; empty without that control."""
    control = rows[rows["model"] == TRAINED_ON]
    if control.empty:
        return ""
    spelled = {"above": "moves them less far", "below": "moves them further", "within": "is not told apart from that"}
    moved = [
        f"{name} pruning at 25 % {spelled[_place(one.iloc[0], control.iloc[0])]}"
        for name in ("unstructured", "structured")
        if not (one := rows[rows["model"] == f"pruned/{name}-0.25"]).empty
    ]
    said = f"Training on alone, without pruning, moves the maps to SSIM {_spell(control.iloc[0])}"
    return "; ".join((said, *moved)) + "."


def beside_another_training(rows: pd.DataFrame) -> str:
    """How alike to the baseline a network is that was trained apart from it, and who is closer; empty if unknown."""
    apart = rows[rows["model"] == students.INDEPENDENT]
    if apart.empty:
        return ""
    null, made = apart.iloc[0], compressed(rows)
    closer = sum(_place(row, null) == "above" for _, row in made.iterrows())
    return (
        f"A network trained apart from the baseline, {students.INDEPENDENT}, comes to SSIM {_spell(null)}; "
        f"{closer} of {text.count(len(made), 'compressed model')} lie above that, intervals apart."
    )


def in_other_colours(rows: pd.DataFrame, baseline: pd.Series) -> str:
    """What other colours take from the baseline and from compressed models, and whose result is another than its."""
    ordered = compressed(rows).sort_values(["jittered_top1_pct", "model"])
    least, most = (
        f"{text.number(row['jittered_top1_pct'])} % ({row['model']})" for _, row in ordered.iloc[[0, -1]].iterrows()
    )
    low, high = baseline["jittered_top1_pct_low"], baseline["jittered_top1_pct_high"]
    other = int(((ordered["jittered_top1_pct_low"] > high) | (ordered["jittered_top1_pct_high"] < low)).sum())
    before, after = (text.number(baseline[column]) for column in ("top1_pct", "jittered_top1_pct"))
    return (
        f"In other colours the baseline's top-1 falls from {before} to {after} % (n = {int(baseline['n']):,}); "
        f"compressed models come to between {least} and {most}, {other} of {len(ordered)} with an interval apart "
        "from the baseline's."
    )


@style.styled
def figure(rows: pd.DataFrame, title: str) -> Figure:
    """SSIM to the baseline with its interval, and to the baseline's map of another image, per model but most students.

    Args:
        rows: Of `table`; of the students the best is shown, and the independent one as a dotted line.
        title: What the numbers say.
    """
    apart = rows[rows["model"] == students.INDEPENDENT]
    rows = pd.concat([compressed(rows), rows[rows["model"] == best_student(rows)]])
    made, (axes,) = style.figure(title, height=1.1 + ROW_INCHES * len(rows))
    at = np.arange(len(rows))[::-1]
    for place, (_, row) in zip(at, rows.iterrows(), strict=True):
        colour = style.colour(tables.family(row["model"]))
        axes.hlines(place, row["ssim_low"], row["ssim_high"], color=colour, lw=2)
        axes.plot(row["ssim"], place, "o", ms=6, color=colour, mec=style.INK, mew=0.5)
    axes.plot(rows["ssim_other_image"], at, "|", ms=8, color=style.MUTED, label="to the map of another image")
    if not apart.empty:
        axes.axvline(apart["ssim"].iloc[0], color=style.GREY, ls=":", lw=1.4, label=students.INDEPENDENT)
    axes.set_yticks(at, list(rows["model"]), fontsize=8)
    axes.set(xlabel="SSIM to the baseline's maps, 95 %", ylim=(-0.7, len(rows) - 0.3))
    axes.grid(axis="y", visible=False)
    made.legend(loc="outside lower left", ncols=2)
    return made


def _place(row: pd.Series, other: pd.Series) -> str:
    """Where one SSIM lies beside another: above, below, or within, where their intervals meet."""
    if row["ssim_low"] > other["ssim_high"]:
        return "above"
    return "below" if row["ssim_high"] < other["ssim_low"] else "within"


def _spell(row: pd.Series) -> str:
    low, high = (text.number(row[f"ssim_{side}"], 2) for side in ("low", "high"))
    return f"{text.number(row['ssim'], 2)} ({low} to {high})"
