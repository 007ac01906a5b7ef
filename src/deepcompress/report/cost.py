"""What models cost to make, as evaluation counted it: in the baseline's trainings, and what a budget buys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import figures, style, tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deepcompress.report.tables import Tables

BASELINE = tables.BASELINE
OWN, TOTAL = "training_tera_macs", "training_tera_macs_total"  # as measure/training_cost.py counts them
NOT_COMPRESSED = (BASELINE, tables.TEACHERS)
ALONE = "students alone"
ROUNDING = 1e-9  # of numbers read from text


def table(data: Tables) -> pd.DataFrame:
    """A row per model with a known cost: `own` and `total` [10^12 MACs], with what tables say of it.

    `total` adds what the model builds on: the baseline, the pruned model, or the teacher. No rows where the baseline's
    training cost nothing or is not told of.
    """
    rows = data.candidates.dropna(subset=[OWN, TOTAL])
    if not (rows.loc[rows["model"] == BASELINE, TOTAL] > 0).any():
        return pd.DataFrame()
    return rows.assign(own=rows[OWN], total=rows[TOTAL]).reset_index(drop=True)


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
    figures.plain_log_ticks(axes)
    axes.set_ylabel("top-1 on held-out images [%]")
    made.legend(loc="outside lower left", ncols=3, handletextpad=0.3)
    return made
