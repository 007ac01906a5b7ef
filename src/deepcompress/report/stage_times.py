"""Which stages of dvc.yaml made a model, and the seconds that they took on the machine that ran them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deepcompress.measure.lineage import Lineage

if TYPE_CHECKING:
    from collections.abc import Collection

    from deepcompress.report.tables import Tables

NAME = "benchmark/stages"
ONE = {"baseline": "finetune", "shipped/pruned": "prune", "shipped/quantized": "quantize"}
SWEPT = {  # family -> stages, of which one has the model's name as its key
    "masked": ("prune_sweep",),
    "pruned": ("prune_sweep",),
    "quantized": ("quantize_sweep",),
    "teachers": ("train_teacher",),
    "students": ("distill", "distill_alone", "distill_colour", "distill_mixture"),
    "combined": ("combine",),
}


def of_models(data: Tables) -> dict[str, tuple[float, float]]:
    """Seconds of the stage that made each model, and of all stages that it builds on with that one, each once.

    NaN where a stage did not run here; empty where none did.
    """
    rows = data.extra.get(NAME)
    if rows is None or rows.empty:
        return {}
    seconds = dict(zip(rows["stage"].astype(str), rows["seconds"].astype(float), strict=True))
    lineage = Lineage(tuple(data.models["model"]), data.params)
    stages = {model: _stages(model, seconds, lineage) for model in lineage.models}
    found = {}
    for model, own in stages.items():
        below = dict.fromkeys(stage for one in lineage.below(model) for stage in stages[one])
        found[model] = seconds.get(own[0], math.nan), sum(seconds.get(stage, math.nan) for stage in below)
    return found


def _stages(model: str, known: Collection[str], lineage: Lineage) -> list[str]:
    """Addresses such as `prune_sweep@structured-0.5`: the stage that made a model, then what it alone needed.

    Of stages that could have made it, the one that ran; the last of several.
    """
    family, _, name = model.partition("/")
    possible = [ONE[model]] if model in ONE else [f"{stage}@{name}" for stage in SWEPT.get(family, (family,))]
    made = [stage for stage in known if stage in possible] or possible
    method = _pruned_by(model, lineage)
    return [made[-1], *([f"sensitivity@{method}"] if method else [])]


def _pruned_by(model: str, lineage: Lineage) -> str | None:
    """The method whose scan decided what was pruned; None where nothing was."""
    family, _, name = model.partition("/")
    if family in ("masked", "pruned"):
        return name.partition("-")[0]
    pruned = model == "shipped/pruned" or "prune" in lineage.steps(model)
    return str(lineage.params.get("prune", {}).get("method")) if pruned else None
