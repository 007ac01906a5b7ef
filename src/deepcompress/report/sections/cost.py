"""What each model cost to make: section 4.9 of the source report, measured."""

from __future__ import annotations

from deepcompress.report import cost, text
from deepcompress.report.blocks import Paragraph, Picture, Section, Table
from deepcompress.report.tables import BASELINE, Tables

CAPTION = (
    "Section 4.9 of the source report asks what pays under a fixed budget. Cost: training images seen times MACs of a "
    "forward pass, with all that the model builds on (baseline, teacher). Bars: 95 % Wilson intervals."
)
HEADS = ("Model", "Own cost, 10¹² MACs", "With all below it", "Times the baseline's", "Top-1 % (95 %)")


def build(data: Tables) -> Section | None:
    """One finding, accuracy against cost, and a row per model; None where no history was read."""
    rows = cost.table(data)
    if rows.empty or len(rows) < 2:
        return None
    base = rows[rows["model"] == BASELINE].iloc[0]
    dearest = rows.sort_values(["total", "model"]).iloc[-1]
    share = text.times(dearest["total"] / base["total"])
    top1 = text.number(dearest["top1_pct"])
    finding = f"{dearest['model']} costs most to make: {share} the baseline's training, for {top1} %"
    ordered = rows.sort_values(["total", "model"])
    cells = tuple(
        (
            str(row["model"]),
            text.number(row["own"], 3),
            text.number(row["total"], 3),
            text.times(row["total"] / base["total"]),
            text.accuracy(row),
        )
        for _, row in ordered.iterrows()
    )
    picture = Picture("cost", cost.figure(rows, finding), CAPTION)
    blocks = (Paragraph(f"{finding}.", strong=True), picture, Table(HEADS, cells, folded="Cost of every model"))
    return Section("What models cost to make", blocks, order=60)
