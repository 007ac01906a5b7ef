"""What each model cost to make: section 4.9 of the source report, measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import cost, stage_times, tables, text
from deepcompress.report.blocks import Paragraph, Picture, Section, Table
from deepcompress.report.tables import BASELINE, Tables

if TYPE_CHECKING:
    import pandas as pd

CAPTION = (
    "Section 4.9 of the source report asks what pays under a fixed budget. Cost: training images seen times MACs of a "
    "forward pass, with all that the model builds on (baseline, teacher, the teacher's answers). Frozen layers that "
    "see unchanged images run once. Bars: 95 % Wilson intervals."
)
MODELS = (
    "Seconds: of the stage that made the model, when it last ran, and with the stages that it builds on (a pruned "
    "model's sensitivity scan among them, not the data's). Other stages may have run at the same time."
)
HEADS = ("Model", "Own cost, 10¹² MACs", "With all below it", "Times the baseline's", "Top-1 % (95 %)")
TIME_HEADS = ("Own stage, s", "All its stages, s")
BUDGETS = (1.0, 1.25, 1.5, 2.0, 4.0)  # in trainings of the baseline
BUDGET_HEADS = ("Budget", "Models within", "Most accurate of them, %", "Smallest that loses at most {limit} points")


def build(data: Tables) -> Section | None:
    """One finding, accuracy against cost, what a budget buys, and a row per model; None where no cost is known."""
    rows = cost.table(data)
    if len(rows) < 2:
        return None
    spans = [_span(family, *span) for family, span in cost.spans(rows).items()]
    finding = f"Cost in trainings of the baseline: {', '.join(spans)}"
    picture = Picture("cost", cost.figure(rows, finding), CAPTION)
    blocks = (Paragraph(f"{finding}.", strong=True), picture, _budgets(rows, data.max_drop_points), _all(rows, data))
    return Section("What models cost to make", blocks, order=60)


def _span(family: str, low: float, high: float) -> str:
    ends = dict.fromkeys((text.times(low), text.times(high)))
    return f"{family} {' to '.join(ends)}"


def _budgets(rows: pd.DataFrame, max_drop_points: float) -> Table:
    """Section 4.9's question as a table: the best that each budget pays for."""
    cells = []
    for budget in BUDGETS:
        some = cost.within(rows, budget)
        best = None if some.empty else some.sort_values(["top1_pct", "times_smaller", "model"]).iloc[-1]
        small = tables.smallest_within(some, max_drop_points)
        cells.append(
            (
                f"{text.number(budget, 2)}×",
                str(len(some)),
                text.MISSING if best is None else f"{best['model']}: {text.accuracy(best)}",
                text.MISSING if small is None else f"{small['model']}: {text.times(small['times_smaller'])} smaller",
            )
        )
    limit = text.number(max_drop_points)
    heads = tuple(head.format(limit=limit) for head in BUDGET_HEADS)
    caption = "What a budget buys, in trainings of the baseline, which most models build on. Chosen on held-out images."
    return Table(heads, tuple(cells), caption)


def _all(rows: pd.DataFrame, data: Tables) -> Table:
    """Every model's cost; beside it its seconds, where stages ran here."""
    base = rows.loc[rows["model"] == BASELINE, "total"].iloc[0]
    seconds = stage_times.of_models(data)
    cells = tuple(
        (
            str(row["model"]),
            text.number(row["own"], 3),
            text.number(row["total"], 3),
            text.times(row["total"] / base),
            *(text.number(time) for time in seconds.get(row["model"], ())),
            text.accuracy(row),
        )
        for _, row in rows.sort_values(["total", "model"]).iterrows()
    )
    heads = (*HEADS[:-1], *(TIME_HEADS if seconds else ()), HEADS[-1])
    return Table(heads, cells, MODELS if seconds else "", folded="Cost of every model")
