"""What models cost to make: training images seen times multiply-accumulates of the network that learned from them.

The unit is the multiply-accumulate of a forward pass. A training step of the whole network takes about three times
that, by the same factor for all, and is not multiplied in. Where only the head learns from images that come unchanged
in every epoch, the frozen rest runs once, so all epochs count as one pass. A search, a scan and a rounding without
training count as nothing. A teacher's answers count with a forward pass per image: one where images come unchanged in
every epoch, else one per epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from deepcompress.report import style, tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from deepcompress.report.tables import Tables

BASELINE = tables.BASELINE
SHIPPED = {"shipped/quantized": "shipped/pruned"}
NOT_COMPRESSED = (BASELINE, "teachers")
ALONE = "students alone"
TERA = 1e12
ROUNDING = 1e-9  # of sums of floats


def table(data: Tables) -> pd.DataFrame:
    """A row per model that was trained or made from one: `own` and `total` [10^12 MACs], with what tables say of it.

    `total` adds what the model builds on: the baseline, the pruned model, or the teacher.
    """
    images = data.meta.get("counts", {}).get("train")
    rows = data.candidates.set_index("model", drop=False)
    if images is None or data.history.empty or BASELINE not in rows.index:
        return pd.DataFrame()
    epochs = data.history.groupby("model")["epoch"].max()
    own = {}
    teachers = _teachers(data, list(rows.index))
    for model in rows.index:
        trained = int(epochs.get(model, 0))
        own[model] = _passes(model, trained, data) * images * rows.loc[model, "macs"] / TERA
        if trained and teachers.get(model) in rows.index:
            own[model] += _answers(model, trained, data) * images * rows.loc[teachers[model], "macs"] / TERA
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


def spans(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """From the cheapest to the dearest model of each compressed family, in baselines' trainings.

    Students that build on nothing, the controls, stand apart from those with a teacher.
    """
    shares = rows["total"] / rows.loc[rows["model"] == BASELINE, "total"].iloc[0]
    alone = (rows["family"] == "students") & (rows["own"] == rows["total"])
    groups = rows["family"].mask(alone, ALONE)
    found = {str(name): (share.min(), share.max()) for name, share in shares.groupby(groups, sort=False)}
    return {name: span for name, span in found.items() if name not in NOT_COMPRESSED}


def within(rows: pd.DataFrame, budget: float) -> pd.DataFrame:
    """Compressed models that cost at most so many of the baseline's trainings, with all that they build on.

    A model that is not smaller than the baseline's file is no compressed one.
    """
    most = budget * rows.loc[rows["model"] == BASELINE, "total"].iloc[0]
    fits = rows["total"] <= most * (1 + ROUNDING)
    return rows[fits & (rows["times_smaller"] > 1) & ~rows["family"].isin(NOT_COMPRESSED)]


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


def _passes(model: str, epochs: int, data: Tables) -> int:
    """How often the network sees each image: in every epoch, or once where what is frozen runs once.

    Students and their controls run whole in every epoch, whatever learns in them.
    """
    recipe = _recipe(model, data)
    whole = tables.family(model) == "students" or "distill" in _steps(model, data)
    once = recipe.get("trainable") == "head" and _unchanged(recipe) and not whole
    return min(epochs, 1 + max(0, epochs - recipe.get("epochs", epochs))) if once else epochs


def _answers(model: str, epochs: int, data: Tables) -> int:
    """How often a teacher sees each image; it does not take part in the steps after distilling."""
    recipe = _recipe(model, data)
    return 1 if _unchanged(recipe) else min(epochs, recipe.get("epochs", epochs))


def _unchanged(recipe: Mapping[str, Any]) -> bool:
    return not any((recipe.get("augment") or {}).values())


def _recipe(model: str, data: Tables) -> Mapping[str, Any]:
    """How params say that a model trains (the first of several trainings); empty where they say nothing."""
    family, _, name = model.partition("/")
    steps = _steps(model, data)
    if model == BASELINE:
        keys = ["finetune"]
    elif family == "teachers":
        keys = ["teachers", name, "recipe"]
    elif family == "pruned" or model == "shipped/pruned" or "prune" in steps:
        keys = ["prune", "finetune"]
    elif family == "students" or "distill" in steps:
        keys = ["distill", "student", "recipe"]
    else:
        keys = ["quant", "qat"]
    found: Mapping[str, Any] = data.params
    for key in keys:
        found = found.get(key) or {}
    return found


def _steps(model: str, data: Tables) -> list[str]:
    family, _, name = model.partition("/")
    return data.params.get("combine", {}).get("models", {}).get(name, []) if family == "combined" else []


def _teachers(data: Tables, models: list[str]) -> dict[str, str]:
    """Whom each of some models learned from: as its id says, or as params say of combined ones."""
    known = [str(name) for name in data.of("teachers")["name"]]
    found = {}
    for model in models:
        family, _, name = model.partition("/")
        if family == "students" and name.rpartition("-")[2] in known:
            found[model] = f"teachers/{name.rpartition('-')[2]}"
        if "distill" in _steps(model, data):
            found[model] = str(data.params["combine"]["teacher"])
    return found
