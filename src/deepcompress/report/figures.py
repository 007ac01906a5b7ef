"""The figures: one function each, tables in, `Figure` out, the finding as its title, intervals drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from deepcompress.measure.statistics import wilson_interval
from deepcompress.report import labels, style, tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP1 = "top-1 on held-out images [%]"
LINES_IN_LEGEND = 8


@style.styled
def accuracy_size(models: pd.DataFrame, finding: str) -> Figure:
    """Accuracy against bytes on disk: upwards and leftwards is better; the Pareto front is a dotted line.

    Args:
        models: Rows of the evaluation.
        finding: What the numbers say, for the title.
    """
    groups = models.groupby(["family", "variant"], sort=False)
    figure, (axes,) = style.figure(finding, height=3.7 + 0.17 * ((len(groups) + 1) // 2))
    front = tables.pareto(models)
    axes.step(front["size_mib"], front["top1_pct"], where="post", ls=":", lw=1.2, color=style.MUTED, zorder=1.5)
    for _, rows in groups:
        _points(axes, rows, style.markers(models.loc[models["family"] == rows["family"].iloc[0], "variant"]))
    axes.set(xscale="log", xlabel="file size [MiB], logarithmic", ylabel=TOP1)
    axes.set_xlim(models["size_mib"].min() / 1.6, models["size_mib"].max() * 1.6)
    plain_log_ticks(axes)
    axes.margins(y=0.1)
    figure.legend(loc="outside lower left", ncols=2, handletextpad=0.3, columnspacing=1.2)
    named = models[models["model"].isin({*front["model"], tables.BASELINE})].sort_values("top1_pct")
    labels.write(axes, list(named["name"]), list(named["size_mib"]), list(named["top1_pct"]))
    return figure


@style.styled
def differences(models: pd.DataFrame, paper: Mapping[str, float], finding: str) -> Figure:
    """Points lost or won against the baseline, a line per model, beside the paper's own difference.

    Args:
        models: Rows of one family.
        paper: Model id -> the paper's difference to its own baseline, points.
        finding: What the numbers say, for the title.
    """
    figure, (axes,) = style.figure(finding, height=1.6 + 0.22 * len(models))
    at = np.arange(len(models))[::-1]
    axes.axvline(0, color=style.GREY, lw=1.4)
    shown = models["difference_points"].to_numpy(float)
    low, high = (models[f"difference_points_{side}"].fillna(models["difference_points"]) for side in ("low", "high"))
    colour = style.colour(models["family"].iloc[0])
    axes.hlines(at, low, high, color=colour, lw=2)
    axes.plot(shown, at, "o", ms=6, mfc=colour, mec=style.INK, mew=0.6, label="here, 95 % interval")
    theirs = [(paper[model], y) for model, y in zip(models["model"], at, strict=True) if model in paper]
    if theirs:
        axes.plot(*zip(*theirs, strict=True), "D", ms=6, mfc="none", mec=style.INK, label="paper", ls="none")
    axes.set_yticks(at, models["name"])
    axes.set(xlabel="top-1, difference to own baseline [points]", ylim=(-0.7, len(models) - 0.3))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower left", ncols=2, handletextpad=0.3)
    return figure


@style.styled
def training_curves(history: pd.DataFrame, finding: str) -> Figure:
    """Validation accuracy above, training loss below, against the epoch, for the runs of one family.

    Args:
        history: Rows (model, epoch, ...) of that family.
        finding: What the numbers say, for the title.
    """
    runs = list(history.groupby("model", sort=False))
    legend = min(len(runs), LINES_IN_LEGEND)
    figure, (above, below) = style.figure(finding, height=4.4 + 0.1 * legend, rows=2)
    family = tables.family(str(runs[0][0]))
    for i, (model, run) in enumerate(runs):
        marker = style.MARKERS[i % len(style.MARKERS)]
        look: dict[str, Any] = {"color": style.colour(family), "marker": marker, "ms": 4, "lw": 1.2}
        look |= {"mec": style.INK, "mew": 0.4, "alpha": 0.9, "markevery": max(1, len(run) // 15)}
        label = str(model).split("/", 1)[-1] if i < LINES_IN_LEGEND else None
        above.plot(run["epoch"], run["validation_top1_pct"], label=label, **look)
        below.plot(run["epoch"], run["train_loss"], **look)
    above.set_ylabel("validation top-1 [%]")
    below.set(xlabel="epoch", ylabel="training loss")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(runs) > 1:
        rest = len(runs) - legend
        title = f"the first {legend} of {len(runs)} runs" if rest else None
        figure.legend(loc="outside lower left", ncols=2, title=title, alignment="left")
    return figure


@style.styled
def class_accuracy(per_class: pd.DataFrame, classes: list[str], finding: str) -> Figure:
    """Accuracy on single classes, one line each, a dot per model with its interval.

    Args:
        per_class: Rows (model, class, n, top1_pct) of the models to show.
        classes: Which classes, from top to bottom.
        finding: What the numbers say, for the title.
    """
    figure, (axes,) = style.figure(finding, height=1.4 + 0.2 * len(classes))
    models = list(dict.fromkeys(per_class["model"]))
    for i, model in enumerate(models):
        rows = per_class[per_class["model"] == model].set_index("class").loc[classes]
        at = np.arange(len(classes))[::-1] + (len(models) - 1 - 2 * i) * 0.13
        bounds = [wilson_interval(round(r.top1_pct * r.n / 100), int(r.n)) for r in rows.itertuples()]
        colour = style.colour(tables.family(model))
        axes.hlines(at, *(100 * np.array(bounds)).T, color=colour, lw=1.4)
        axes.plot(rows["top1_pct"], at, style.MARKERS[i], ms=5, mfc=colour, mec=style.INK, mew=0.5, label=model)
    axes.set_yticks(np.arange(len(classes))[::-1], classes)
    axes.set(xlabel=TOP1, xlim=(-2, 102), ylim=(-0.6, len(classes) - 0.4))
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower left", ncols=2, handletextpad=0.3)
    return figure


def _points(axes: Axes, rows: pd.DataFrame, markers: Mapping[str, str]) -> None:
    family, variant = rows["family"].iloc[0], rows["variant"].iloc[0]
    colour = style.colour(family)
    low, high = rows["top1_pct"] - rows["top1_pct_low"], rows["top1_pct_high"] - rows["top1_pct"]
    axes.errorbar(
        rows["size_mib"],
        rows["top1_pct"],
        yerr=[low.clip(lower=0), high.clip(lower=0)],
        ls="none",
        marker=markers[variant],
        ms=6.5,
        mfc=colour,
        mec=style.INK,
        mew=0.6,
        ecolor=colour,
        elinewidth=1.1,
        label=family if family == variant else f"{family}: {variant}",
    )


def plain_log_ticks(axes: Axes) -> None:
    """0.5, 1, 2, 5, 10 in place of powers of ten, of which a narrow range shows one or none."""
    low, high = axes.get_xlim()
    wide, middle, narrow = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    digits = wide if high > 20 * low else middle if high > 5 * low else narrow
    steps = [digit * 10.0**power for power in range(-5, 6) for digit in digits]
    axes.set_xticks([step for step in steps if low <= step <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
