"""Figures about pruning: weights before and after, layers pruned alone, accuracy against sparsity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib import colors

from deepcompress.report import contrast, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3
METHOD_MARKERS = {"unstructured": "o", "structured": "s"}


@style.styled
def weight_histograms(rows: pd.DataFrame, finding: str, *, family: str) -> Figure:
    """A small histogram per layer of the weights that are not zero; the share of zeros stands in its corner.

    Args:
        rows: Of one model: `layer`, `low`, `high`, `count`, `zeros`, `weights`.
        finding: What the numbers say, for the title.
        family: Whose colour the bars have.
    """
    layers = list(dict.fromkeys(rows["layer"]))
    down = math.ceil(len(layers) / ACROSS)
    figure, grid = style.grid(finding, down, ACROSS, height=0.7 + 1.05 * down)
    for axes, layer in zip(grid, layers, strict=False):
        of_layer = rows[rows["layer"] == layer]
        edges = [*of_layer["low"], of_layer["high"].iloc[-1]]
        axes.stairs(of_layer["count"], edges, fill=True, color=style.colour(family))  # one shape, not one per bin
        zeros = of_layer["zeros"].iloc[0] / of_layer["weights"].iloc[0]
        axes.set_title(f"{layer}\n{100 * zeros:.0f} % zeros", fontsize=8, loc="left")
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=3)
    for axes in grid[len(layers) :]:
        axes.set_visible(False)
    figure.supxlabel("weight", fontsize=9)
    figure.supylabel("number of weights (zeros left out)", fontsize=9)
    return figure


@style.styled
def sensitivity_curves(rows: pd.DataFrame, finding: str) -> Figure:
    """Validation accuracy with one layer pruned, against its sparsity; bars are one standard error.

    Args:
        rows: Of one method: `layer`, `sparsity`, `top1_pct`, `top1_se_pct`.
        finding: What the numbers say, for the title.
    """
    layers = list(dict.fromkeys(rows["layer"]))
    figure, (axes,) = style.figure(finding, height=3.6 + 0.17 * math.ceil(len(layers) / 3))
    shades = matplotlib.colormaps["plasma"](np.linspace(0.1, 0.85, len(layers)))
    for place, layer in enumerate(layers):
        of_layer = rows[rows["layer"] == layer]
        axes.errorbar(
            of_layer["sparsity"],
            of_layer["top1_pct"],
            yerr=of_layer["top1_se_pct"],
            color=contrast.legible(colors.to_hex(shades[place])),
            ls="--" if layer.startswith("classifier") else "-",
            marker=style.MARKERS[place % len(style.MARKERS)],
            ms=4.5,
            lw=1.3,
            elinewidth=0.8,
            label=layer,
        )
    axes.set(xlabel="sparsity of that layer alone", ylabel="top-1 on validation images [%]")
    figure.legend(loc="outside lower left", ncols=3, fontsize=8, columnspacing=1.0, handlelength=2.4)
    return figure


@style.styled
def sparsity_accuracy(curves: Mapping[tuple[str, str], pd.DataFrame], baseline: pd.Series, finding: str) -> Figure:
    """Held-out accuracy against sparsity: both methods, as pruned (dashed) and trained on (solid).

    Args:
        curves: (method, "masked" or "pruned") -> rows (`sparsity`, `top1_pct`, `top1_pct_low`, `top1_pct_high`).
        baseline: Its row of the evaluation.
        finding: What the numbers say, for the title.
    """
    figure, (axes,) = style.figure(finding, height=4.0)
    axes.axhline(baseline["top1_pct"], color=style.GREY, lw=1.4, label="baseline")
    axes.axhspan(baseline["top1_pct_low"], baseline["top1_pct_high"], color=style.GREY, alpha=0.15, lw=0)
    for (method, family), rows in curves.items():
        _curve(axes, rows, method, trained=family == "pruned")
    axes.set(xlabel="sparsity", ylabel="top-1 on held-out images [%]")
    figure.legend(loc="outside lower left", ncols=2, fontsize=8.5)
    return figure


def _curve(axes: Axes, rows: pd.DataFrame, method: str, *, trained: bool) -> None:
    colour = style.BLUE if method == "unstructured" else style.COLOURS["combined"]
    low, high = rows["top1_pct"] - rows["top1_pct_low"], rows["top1_pct_high"] - rows["top1_pct"]
    axes.errorbar(
        rows["sparsity"],
        rows["top1_pct"],
        yerr=[low.clip(lower=0), high.clip(lower=0)],
        color=colour,
        marker=METHOD_MARKERS[method],
        mfc=colour if trained else style.CARD,
        ls="-" if trained else "--",
        ms=5.5,
        lw=1.4,
        elinewidth=1,
        label=f"{method}, {'trained on' if trained else 'as pruned'}",
    )
