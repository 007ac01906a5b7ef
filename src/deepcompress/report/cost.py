"""What models cost to make: training images seen times multiply-accumulates of the network that learned from them.

The unit is the multiply-accumulate of a forward pass. A training step takes about three times that, by the same factor
for all, and is not multiplied in. A search, a scan and a rounding without training count as nothing. A teacher's
answers count with a forward pass per image: one where images come unchanged in every epoch, else one per epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import style, tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deepcompress.report.tables import Tables

BASELINE = tables.BASELINE
SHIPPED = {"shipped/quantized": "shipped/pruned"}
TERA = 1e12


def table(data: Tables) -> pd.DataFrame:
    """A row per model that was trained or made from one: `own` and `total` [10^12 MACs], with what tables say of it.

    `total` adds what the model builds on: the baseline, the pruned model, or the teacher.
    """
    images = data.meta.get("counts", {}).get("train")
    rows = data.candidates.set_index("model", drop=False)
    if images is None or data.history.empty or BASELINE not in rows.index:
        return pd.DataFrame()
    epochs = data.history.groupby("model")["epoch"].max()
    own = {model: int(epochs.get(model, 0)) * images * rows.loc[model, "macs"] / TERA for model in rows.index}
    for model, teacher in _teachers(data, list(rows.index)).items():
        if teacher in rows.index:
            passes = 1 if _unchanged(model, data) else int(epochs.get(model, 0))
            own[model] += passes * images * rows.loc[teacher, "macs"] / TERA
    total = {model: _total(model, own, data) for model in rows.index}
    return rows.assign(own=rows["model"].map(own), total=rows["model"].map(total)).reset_index(drop=True)


def foundations(model: str, data: Tables) -> list[str]:
    """Ids of the models that one directly builds on; a teacher comes last."""
    family = tables.family(model)
    if model == BASELINE or family == "teachers":
        return []
    if model in SHIPPED:
        return [SHIPPED[model]]
    teacher = _teachers(data, [model]).get(model)
    if family == "students":
        return [teacher] if teacher else []
    return list(dict.fromkeys([BASELINE, *([teacher] if teacher else [])]))


@style.styled
def figure(rows: pd.DataFrame, finding: str) -> Figure:
    """Accuracy against all that a model cost, a point per model, coloured by family."""
    made, (axes,) = style.figure(finding, height=4.4)
    for family, some in rows.groupby("family", sort=False):
        colour = style.colour(str(family))
        axes.vlines(some["total"], some["top1_pct_low"], some["top1_pct_high"], color=colour, alpha=0.3)
        axes.plot(some["total"], some["top1_pct"], "o", ms=6, color=colour, mec=style.INK, mew=0.5, label=str(family))
    axes.set(xscale="log", xlabel="cost to make, with all it builds on [10¹² MACs], logarithmic")
    axes.set_ylabel("top-1 on held-out images [%]")
    made.legend(loc="outside lower left", ncols=3, handletextpad=0.3)
    return made


def _total(model: str, own: dict[str, float], data: Tables) -> float:
    below: set[str] = set()
    waiting = [model]
    while waiting:
        one = waiting.pop()
        if one in own and one not in below:
            below.add(one)
            waiting += foundations(one, data)
    return sum(own[one] for one in below)


def _unchanged(model: str, data: Tables) -> bool:
    """Whether a taught model sees every image alike in each epoch, so that its teacher answers once."""
    steps = data.params.get("combine", {}).get("models", {}).get(model.partition("/")[2], [])
    section = "prune" if "prune" in steps else "distill"
    recipe = data.params.get(section, {})
    recipe = recipe.get("finetune", {}) if section == "prune" else recipe.get("student", {}).get("recipe", {})
    return not any((recipe.get("augment") or {}).values())


def _teachers(data: Tables, models: list[str]) -> dict[str, str]:
    """Whom each of some models learned from: as its id says, or as params say of combined ones."""
    known = [str(name) for name in data.of("teachers")["name"]]
    combine = data.params.get("combine", {})
    found = {}
    for model in models:
        family, _, name = model.partition("/")
        if family == "students" and name.rpartition("-")[2] in known:
            found[model] = f"teachers/{name.rpartition('-')[2]}"
        if family == "combined" and "distill" in combine.get("models", {}).get(name, []):
            found[model] = str(combine["teacher"])
    return found
