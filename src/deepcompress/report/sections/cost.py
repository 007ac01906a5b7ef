"""What it costs: images seen times MACs, what a budget buys, and seconds where stages ran here."""

from __future__ import annotations

import pandas as pd

from deepcompress.plan_table import COLUMNS, Plan, PlannedModel
from deepcompress.report import first_screen, queries, tables, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.sections import _parts
from deepcompress.report.tables import BASELINE, Tables

CAPTION = (
    "Cost: training images seen times MACs of a forward pass, with all that the model builds on (baseline, teacher, "
    "its answers). Frozen layers that see unchanged images run once. Bars: 95 % intervals."
)
BUDGETS = (1.0, 1.25, 1.5, 2.0, 4.0)  # in trainings of the baseline
BUDGET = "What a budget buys, in trainings of the baseline, which most models build on. Chosen on held-out images."
SECONDS = (
    "Seconds: of the stage that made the model, when it last ran, and with the stages that it builds on (a pruned "
    "model's sensitivity scan among them, not the data's). Other stages may have run at the same time."
)
OWN_SECONDS, ALL_SECONDS = "Own stage, s", "All its stages, s"
STAGES, PLAN = "benchmark/stages", "plan"
NOT_PLANNED = (float("nan"), float("nan"))


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
    columns = {
        "Model": list(rows["model"]),
        "Own cost, 10¹² MACs": [text.number(value, 3) for value in rows["own"]],
        "With all below it": [text.number(value, 3) for value in rows["total"]],
        "Times the baseline's": [text.times(value / base) for value in rows["total"]],
    }
    if spent:
        columns |= {
            head: [text.number(spent.get(model, NOT_PLANNED)[place]) for model in rows["model"]]
            for place, head in enumerate((OWN_SECONDS, ALL_SECONDS))
        }
    columns["Top-1 % (95 %)"] = [text.accuracy(row) for _, row in rows.iterrows()]
    return _parts.whole(columns, SECONDS if spent else "", folded="Cost of every model")


def seconds(data: Tables) -> dict[str, tuple[float, float]]:
    """Seconds of the stage that made each model, and of all stages that it builds on with that one, each once.

    NaN where a stage did not run here; empty where none did, or where the plan was not given.
    """
    rows, planned = data.extra.get(STAGES), data.extra.get(PLAN)
    if rows is None or planned is None or rows.empty:
        return {}
    took = dict(zip(rows["stage"].astype(str), rows["seconds"].astype(float), strict=True))
    cells = planned.astype(object).where(planned.notna(), None)
    plan = Plan(PlannedModel(*row) for row in cells[list(COLUMNS)].itertuples(index=False))
    stages = {row.id: [str(row.stage), *([f"sensitivity@{row.method}"] if row.step == "prune" else [])] for row in plan}
    spent = {}
    for model in plan.ids:
        below = dict.fromkeys(stage for other in plan.below(model) for stage in stages[other])
        own = took.get(stages[model][0], float("nan"))
        spent[model] = own, sum(took.get(stage, float("nan")) for stage in below)
    return spent


def _times(data: Tables) -> list[Block]:
    """How long each stage took on the machine that ran the pipeline, the longest first."""
    rows = data.extra.get(STAGES)
    if rows is None or rows.empty:
        return []
    longest = rows.sort_values(["seconds", "stage"], ascending=[False, True])
    minutes, stages = text.number(rows["seconds"].sum() / 60), text.count(len(rows), "stage")
    cells = tuple((str(row["stage"]), text.number(row["seconds"])) for _, row in longest.iterrows())
    lead = f"{stages} took {minutes} minutes in all, DVC's own work apart; of each the last time that it ran."
    return [Table(("Stage", "Seconds"), cells, lead, folded="Time of each stage")]


SECTIONS = {"cost": (50, cost)}
