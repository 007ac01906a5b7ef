"""Which stages of dvc.yaml made a model, and the seconds that they took on the machine that ran them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deepcompress.plan_table import COLUMNS, Plan, PlannedModel

if TYPE_CHECKING:
    from deepcompress.report.tables import Tables

NAME, PLAN = "benchmark/stages", "plan"


def of_models(data: Tables) -> dict[str, tuple[float, float]]:
    """Seconds of the stage that made each model, and of all stages that it builds on with that one, each once.

    NaN where a stage did not run here, and of what no plan names; empty where none did.
    """
    rows, planned = data.extra.get(NAME), data.extra.get(PLAN)
    if rows is None or rows.empty or planned is None:
        return {}
    seconds = dict(zip(rows["stage"].astype(str), rows["seconds"].astype(float), strict=True))
    cells = planned.astype(object).where(planned.notna(), None)
    plan = Plan(PlannedModel(*row) for row in cells[list(COLUMNS)].itertuples(index=False))
    stages = {row.id: _stages(row) for row in plan}
    found = dict.fromkeys(data.models["model"], (math.nan, math.nan))
    for model in (model for model in found if model in plan):
        below = dict.fromkeys(stage for other in plan.below(model) for stage in stages[other])
        found[model] = seconds.get(stages[model][0], math.nan), sum(seconds.get(stage, math.nan) for stage in below)
    return found


def _stages(row: PlannedModel) -> list[str]:
    """Addresses such as `prune_sweep@structured-0.5`: the stage that made a model, then the scan of its layers."""
    return [str(row.stage), *([f"sensitivity@{row.method}"] if row.step == "prune" else [])]
