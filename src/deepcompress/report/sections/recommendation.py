"""The model to hand over, why, and the Pareto front that it stands in; all of it chosen on validation images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import recommendation_figures, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table

if TYPE_CHECKING:
    from deepcompress.report.tables import Tables

NAME = "recommendation"
CAPTION = (
    "Filled: no other model is at least as good in accuracy, bytes and MACs and better in one. Dashed: the lowest "
    "accuracy that is allowed. Bars: 95 % Wilson intervals."
)
HEADS = ("Model", "Validation top-1 % (95 %)", "Points lost (95 %)", "MiB", "Million MACs", "Allowed")


def build(data: Tables) -> Section | None:
    """The sentence, the figure of both costs and the front as a table; None while nothing was recommended."""
    rows, made = data.extra.get(NAME), data.notes.get(NAME)
    if rows is None or made is None or rows.empty:
        return None
    blocks: list[Block] = [Paragraph(made["reason"], strong=True), Paragraph(_heldout(data, made))]
    if len(rows) > 1:
        lowest = made["validation"]["baseline_top1_pct"] - made["limits"]["max_drop_points"]
        finding = f"{made['model']} is the smallest allowed (n = {made['n']:,} validation images)"
        figure = recommendation_figures.front(rows, made["model"], lowest, finding)
        blocks.append(Picture("recommendation", figure, CAPTION))
    front = rows[rows["on_front"]].sort_values(["size_mib", "model"])
    excluded = rows[~rows["allowed"]]
    blocks.append(_table(front, caption=f"The Pareto front of accuracy, bytes and MACs; n = {made['n']:,}."))
    if not excluded.empty:
        blocks.append(_table(excluded, folded=f"{text.count(len(excluded), 'model')} not allowed, and why"))
    return Section("The model to hand over", tuple(blocks), order=1)


def _heldout(data: Tables, made: dict[str, object]) -> str:
    """What the held-out images say of the choice that they had no part in."""
    runner = f" The runner-up is {made['runner_up']}." if made["runner_up"] else ""
    row = data.models[data.models["model"] == made["model"]]
    if row.empty:
        return f"It was not measured on the held-out images.{runner}"
    top1, points = text.accuracy(row.iloc[0]), text.difference(row.iloc[0])
    beside = "" if points == text.MISSING else f", {points} points to the baseline"
    return f"On the {int(row.iloc[0]['n']):,} held-out images, which it was not chosen on: {top1} %{beside}.{runner}"


def _table(rows: pd.DataFrame, *, caption: str = "", folded: str = "") -> Table:
    cells = [
        (
            str(row["model"]),
            f"{text.number(row['validation_top1_pct'])} ({text.number(row['validation_top1_pct_low'])} to "
            f"{text.number(row['validation_top1_pct_high'])})",
            _lost(row),
            text.number(row["size_mib"], 2),
            text.number(row["macs_million"], 2),
            "yes" if row["allowed"] else str(row["why_not"]),
        )
        for _, row in rows.iterrows()
    ]
    return Table(HEADS, tuple(cells), caption, folded)


def _lost(row: pd.Series) -> str:
    points = text.number(row["drop_points"])
    if pd.isna(row["drop_points_low"]):
        return points
    return f"{points} ({text.signed(row['drop_points_low'])} to {text.signed(row['drop_points_high'])})"
