"""Teachers: larger models that students learn from, and what a larger one of them brings."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import student_figures, students, technique, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.source_report import source_top1
from deepcompress.report.tables import Tables

CAPTION = "Teacher size compared (section 2.8 of the source report). Bars: 95 % Wilson intervals."
TWO = 2


def build(data: Tables) -> Section | None:
    """How much better the teachers are than the baseline, and their students side by side."""
    found = technique.section(data, "teachers", "Teachers", order=30, paper=source_top1(data, "teachers"))
    if found is None:
        return None
    return Section(found.title, (*found.blocks, *_sizes(data)), found.order)


def _sizes(data: Tables) -> list[Block]:
    """Students of the two teachers of other size that most methods were tried with, if there are two."""
    rows = students.taught(data)
    sizes = data.of("teachers").set_index("name")["parameters"].drop_duplicates()
    rows = rows[rows["teacher"].isin(sizes.index)]
    common = rows.groupby("method")["teacher"].nunique()
    rows = rows[rows["method"].isin(common[common >= TWO].index)]
    names = rows["teacher"].value_counts().head(TWO).index
    pair = sorted(names, key=lambda name: (sizes[name], name))
    both = rows[rows["teacher"].isin(pair)]
    wide = both.pivot(index="method", columns="teacher", values="top1_pct").dropna()
    if len(pair) < TWO or wide.empty:
        return []
    small, large = pair
    change = wide[large] - wide[small]
    finding = f"{large} in place of {small}: {text.signed(change.mean())} points on average over {len(wide)} methods"
    figure = student_figures.teacher_size(both[both["method"].isin(wide.index)], pair, finding)
    theirs = data.paper["students"]
    cells = tuple(
        (
            str(method),
            *(text.number(theirs[name].get(method, float("nan"))) if name in theirs else text.MISSING for name in pair),
            *(text.accuracy(_row(both, str(method), name)) for name in pair),
            text.signed(change[method]),
        )
        for method in wide.index
    )
    heads = ("Method", f"Paper: {small}", f"Paper: {large}", f"Here: {small} (95 %)", f"Here: {large} (95 %)", "Points")
    return [Picture("teacher_size", figure, CAPTION), Table(heads, cells), Paragraph(_doubt(both, pair, change))]


def _row(rows: pd.DataFrame, method: str, teacher: str) -> pd.Series:
    return rows[(rows["method"] == method) & (rows["teacher"] == teacher)].iloc[0]


def _doubt(rows: pd.DataFrame, pair: list[str], change: pd.Series) -> str:
    """How many of the differences are larger than the overlap of both intervals allows."""
    apart = 0
    for method in change.index:
        one, other = (_row(rows, str(method), name) for name in pair)
        low, high = sorted((one, other), key=lambda row: float(row["top1_pct"]))
        apart += bool(low["top1_pct_high"] < high["top1_pct_low"])
    return f"In {apart} of {len(change)} methods the intervals of the two students lie apart; the rest is within noise."
