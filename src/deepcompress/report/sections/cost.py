"""What it costs: images seen times MACs, what a budget buys, and seconds where stages ran here."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import first_screen, queries, tables, text
from deepcompress.report.blocks import Block, Column, Paragraph, Picture, Section, Table
from deepcompress.report.tables import BASELINE, Tables

CAPTION = (
    "Cost: training images seen times MACs of a forward pass, with all that the model builds on (baseline, teacher, "
    "its answers). Frozen layers that see unchanged images run once. Bars: 95 % intervals."
)
BUDGETS = (1.0, 1.25, 1.5, 2.0, 4.0)  # in trainings of the baseline
BUDGET = "What a budget buys, in trainings of the baseline, which most models build on. Chosen on held-out images."
SECONDS = "Seconds: of the stage that made the model, when it last ran; others may have run at the same time."
STAGES, PLAN = "benchmark/stages", "plan"


def cost(data: Tables) -> Section | None:
    """Accuracy against cost, what a budget buys, and a row per model; None where neither cost nor time is known."""
    rows, blocks = queries.costs(data), _times(data)
    if len(rows) >= 2:
        spans = [
            f"{family} {' to '.join(dict.fromkeys(text.times(end) for end in span))}"
            for family, span in queries.cost_spans(rows).items()
        ]
        finding = f"Cost in trainings of the baseline: {', '.join(spans)}"
        label = "cost to make, with all it builds on [10¹² MACs], logarithmic"
        picture = Picture("cost", "Accuracy against cost to make", (first_screen.chart(rows, "total", label),), CAPTION)
        blocks = [
            Paragraph(f"{finding}.", strong=True),
            picture,
            _budgets(data, rows),
            _every_model(data, rows),
            *blocks,
        ]
    return Section("What it costs to make", tuple(blocks)) if blocks else None


def _budgets(data: Tables, rows: pd.DataFrame) -> Table:
    """Section 4.9's question as a table: the best that each budget pays for."""
    cells = []
    for budget in BUDGETS:
        models = queries.within_budget(rows, budget)
        best = None if models.empty else models.sort_values(["top1_pct", "times_smaller", "model"]).iloc[-1]
        small = tables.selected(data, models)
        cells.append(
            (
                f"{text.number(budget, 2)}×",
                str(len(models)),
                text.MISSING if best is None else f"{best['model']}: {text.accuracy(best)}",
                text.MISSING if small is None else f"{small['model']}: {text.times(small['times_smaller'])} smaller",
            )
        )
    smallest = f"Smallest that loses at most {text.number(data.max_drop_points)} points"
    return Table(("Budget", "Models within", "Most accurate of them, %", smallest), tuple(cells), BUDGET)


def _every_model(data: Tables, rows: pd.DataFrame) -> Table:
    """Every model's cost; beside it its seconds, where stages ran here."""
    rows = rows.sort_values(["total", "model"])
    base = rows.loc[rows["model"] == BASELINE, "total"].iloc[0]
    spent = seconds(data)
    columns: dict[str, Column] = {
        "Model": "model",
        "Own cost, 10¹² MACs": ("own", 3),
        "With all below it": ("total", 3),
        "Times the baseline's": lambda row: text.times(row["total"] / base),
        "Its stage, s": lambda row: text.number(spent.get(row["model"], float("nan"))),
        "Top-1 % (95 %)": text.accuracy,
    }
    return Table.of(rows, columns, SECONDS if spent else "", folded="Cost of every model")


def seconds(data: Tables) -> dict[str, float]:
    """Seconds of the stage that made each model when it last ran here; empty where none did."""
    rows, planned = data.extra.get(STAGES), data.extra.get(PLAN)
    if rows is None or planned is None:
        return {}
    took = dict(zip(rows["stage"].astype(str), rows["seconds"].astype(float), strict=True))
    return {model: took[stage] for model, stage in zip(planned["id"], planned["stage"], strict=True) if stage in took}


def _times(data: Tables) -> list[Block]:
    """How long each stage took on the machine that ran the pipeline, the longest first."""
    rows = data.extra.get(STAGES)
    if rows is None or rows.empty:
        return []
    longest = rows.sort_values(["seconds", "stage"], ascending=[False, True])
    minutes, stages = text.number(rows["seconds"].sum() / 60), text.count(len(rows), "stage")
    lead = f"{stages} took {minutes} minutes in all, DVC's own work apart; of each the last time that it ran."
    return [Table.of(longest, {"Stage": "stage", "Seconds": ("seconds", 1)}, lead, folded="Time of each stage")]


SECTIONS = {"cost": (50, cost)}
