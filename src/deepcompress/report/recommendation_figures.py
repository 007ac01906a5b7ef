"""The choice in one figure: validation accuracy against bytes above, against multiply-accumulates below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import figures, labels, style, tables

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = {"size_mib": "file size [MiB], logarithmic", "macs_million": "MACs for one image [million], logarithmic"}
TOP1 = "top-1 on validation images [%]"


@style.styled
def front(rows: pd.DataFrame, chosen: str, limit_pct: float, finding: str) -> Figure:
    """Every candidate in both costs: filled on the Pareto front of the three, pale behind it, ringed when chosen.

    Args:
        rows: Of results/recommendation.csv.
        chosen: Id of the recommended model.
        limit_pct: The lowest accuracy that is allowed [%].
        finding: What the numbers say, for the title.
    """
    figure, grid = style.grid(finding, 2, 1, height=6.4)
    rows = rows.assign(family=rows["model"].map(tables.family), name=rows["model"].str.split("/", n=1).str[-1])
    for axes, (cost, label) in zip(grid, AXES.items(), strict=True):
        axes.axhline(limit_pct, ls="--", lw=1, color=style.MUTED, zorder=1)
        for family, some in rows.groupby("family", sort=False):
            _points(axes, some, cost, str(family))
        best = rows[rows["model"] == chosen]
        look = {"ms": 13, "mfc": "none", "mec": style.INK, "mew": 1.6, "label": "recommended"}
        axes.plot(best[cost], best["validation_top1_pct"], "o", **look)  # type: ignore[arg-type]
        axes.set(xscale="log", xlabel=label, ylabel=TOP1)
        axes.set_xlim(rows[cost].min() / 1.6, rows[cost].max() * 1.6)
        figures.plain_log_ticks(axes)
        axes.margins(y=0.1)
    handles = dict(zip(*reversed(grid[0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=3, handletextpad=0.3)
    named = rows[rows["on_front"] | rows["model"].isin({chosen, tables.BASELINE})]
    named = named.sort_values("validation_top1_pct")
    for axes, cost in zip(grid, AXES, strict=True):
        labels.write(axes, list(named["name"]), list(named[cost]), list(named["validation_top1_pct"]))
    return figure


def _points(axes: Axes, rows: pd.DataFrame, cost: str, family: str) -> None:
    colour = style.colour(family)
    for at_front, alpha in ((False, 0.3), (True, 1.0)):
        some = rows[rows["on_front"] == at_front]
        axes.vlines(
            some[cost], some["validation_top1_pct_low"], some["validation_top1_pct_high"], color=colour, alpha=alpha / 2
        )
        axes.plot(
            some[cost], some["validation_top1_pct"], "o", ms=6.5, color=colour, alpha=alpha, mec=style.INK, mew=0.6
        )
    axes.plot([], [], "o", ms=6.5, color=colour, mec=style.INK, mew=0.6, label=family)
