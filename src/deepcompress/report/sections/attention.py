"""Attention and colours of every family beside the baseline, with the counterpart of figure 6 of the source report."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import attention, strips, tables, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.claims import paragraphs
from deepcompress.report.tables import Tables

STRIP = (
    "Counterpart of Figure 6 of the source report, and the same for the other families: where each model sees "
    "the right class "
    "({role}), on the same validation images; below each map its SSIM to the {teacher}'s, undefined where a map is "
    "empty."
)
FIGURE = (
    "Up to {n} validation images, maps of {role}; uniform window of {window} px, data range 1. The source report takes "
    "the last convolution; this is the finer of the two deepest blocks whose maps have 4 x 4 places or more."
)
OBJECT = "The object covers {share} % of the image: what a map without any aim would have inside it."
HEADS = (
    "Model",
    "SSIM (95 %)",
    "To another image",
    "Inside the object, %",
    "Jittered top-1 % (95 %)",
    "Drop, points (95 %)",
)


def build(data: Tables) -> Section | None:
    """Maps, SSIM and accuracy in other colours; None while the explain stage did not look at compressed models."""
    rows = attention.table(data)
    if rows.empty:
        return None
    made, baseline, first = attention.compressed(rows), attention.baseline_colours(data), rows.iloc[0]
    if made.empty:
        return None
    title, seen = attention.finding(made), int((rows["n"] + rows["empty"]).max())
    caption = FIGURE.format(n=f"{seen:,}", role=first["role"], window=int(first["window_px"]))
    said = (
        attention.beside_training_on(rows),
        attention.beside_another_training(rows),
        attention.in_other_colours(rows, baseline),
    )
    blocks: list[Block] = [Paragraph(f"{title}.", strong=True), *(Paragraph(one) for one in said if one)]
    blocks[1:1] = paragraphs(data, "Figure 6")
    drawn = attention.maps(data)
    if not drawn.empty:
        blocks.append(strips.strip(data, drawn, "attention_strip", STRIP))
    blocks.append(Picture("attention", attention.figure(rows, title), caption))
    blocks.append(_table(rows, baseline))
    return Section("Attention and colours", tuple(blocks), order=55)


def _table(rows: pd.DataFrame, baseline: pd.Series) -> Table:
    """A row per model, the baseline's first."""
    first = rows.iloc[0]
    own = baseline.reindex(rows.columns).astype(object)
    own["model"], own["inside_pct"] = tables.BASELINE, first["teacher_inside_pct"]
    cells = (_cells(own), *(_cells(row) for _, row in rows.iterrows()))
    share = first["object_pct"]
    caption = "" if pd.isna(share) else OBJECT.format(share=text.number(share))
    return Table(HEADS, cells, caption, folded="Every model but teachers")


def _cells(row: pd.Series) -> tuple[str, ...]:
    return (
        str(row["model"]),
        _interval(row, "ssim", 2),
        _number(row["ssim_other_image"], 2),
        _number(row["inside_pct"], 1),
        _interval(row, "jittered_top1_pct", 1),
        _interval(row, "drop_points", 1),
    )


def _number(value: float, digits: int) -> str:
    return text.MISSING if pd.isna(value) else text.number(value, digits)


def _interval(row: pd.Series, column: str, digits: int) -> str:
    if pd.isna(row[column]):
        return text.MISSING
    middle, low, high = (text.number(row[name], digits) for name in (column, f"{column}_low", f"{column}_high"))
    return f"{middle} ({low} to {high})"
