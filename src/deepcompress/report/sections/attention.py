"""Attention: where compressed models look, beside the baseline. Figure 6 of the source report, for every family."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import attention, strips, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.tables import Tables

STRIP = (
    "Counterpart of figure 6, and the same for the other families: where each model sees the right class ({role}), on "
    "the same validation images; below each map its SSIM to the {teacher}'s."
)
FIGURE = "On {n} validation images, maps of {role}; uniform window of {window} px, data range 1."
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
    title, first = attention.finding(rows), rows.iloc[0]
    caption = FIGURE.format(n=f"{int(first['n']):,}", role=first["role"], window=int(first["window_px"]))
    blocks: list[Block] = [Paragraph(f"{title}.", strong=True), Paragraph(attention.verdict(rows))]
    drawn = attention.maps(data)
    if not drawn.empty:
        blocks.append(strips.strip(data, drawn, "attention_strip", STRIP))
    blocks.append(Picture("attention", attention.figure(rows, title), caption))
    cells = tuple(_cells(row) for _, row in rows.iterrows())
    return Section("Attention and colours", (*blocks, Table(HEADS, cells, folded="Every compressed model")), order=55)


def _cells(row: pd.Series) -> tuple[str, ...]:
    return (
        str(row["model"]),
        _interval(row, "ssim", 2),
        text.number(row["ssim_other_image"], 2),
        text.MISSING if pd.isna(row["inside_pct"]) else text.number(row["inside_pct"]),
        _interval(row, "jittered_top1_pct", 1),
        _interval(row, "drop_points", 1),
    )


def _interval(row: pd.Series, column: str, digits: int) -> str:
    middle, low, high = (text.number(row[name], digits) for name in (column, f"{column}_low", f"{column}_high"))
    return f"{middle} ({low} to {high})"
