"""Figures about quantization: accuracy at every format, and costs against the number of bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from deepcompress.measure.statistics import wilson_interval
from deepcompress.report import style

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {"ptq": ("o", style.CARD, "PTQ"), "qat": ("s", style.COLOURS["quantized"], "QAT")}
BESIDE = {"ptq": -0.13, "qat": 0.13}  # of a format's place
SCALES = {
    "channel": ("o", style.BLUE, "one scale per channel"),
    "group": ("s", style.COLOURS["quantized"], "scales per group"),
}


@style.styled
def formats(
    models: pd.DataFrame,
    baseline: pd.Series,
    twin: pd.Series | None,
    paper: Mapping[str, float],
    finding: str,
) -> Figure:
    """Accuracy of both modes at every format, with intervals; the float twin is a dashed line with its band.

    Args:
        models: Rows with `mode` and `format`, in the order of the formats; without the twin.
        baseline: Its row of the evaluation.
        twin: The row of the equally long float training, if there is one.
        paper: Model id -> the paper's top-1 [%]; only where the data is the same.
        finding: What the numbers say, for the title.
    """
    figure, (axes,) = style.figure(finding, height=3.9)
    _level(axes, baseline, "-", "baseline")
    if twin is not None:
        _level(axes, twin, "--", "float twin: as long, not rounded")
    places = {form: at for at, form in enumerate(dict.fromkeys(models["format"]))}
    for mode, (marker, fill, label) in LOOKS.items():
        rows = models[models["mode"] == mode]
        at = rows["format"].map(places).to_numpy(float) + BESIDE[mode]
        low, high = rows["top1_pct"] - rows["top1_pct_low"], rows["top1_pct_high"] - rows["top1_pct"]
        error = [low.clip(lower=0), high.clip(lower=0)]
        colour = style.colour("quantized")
        axes.errorbar(at, rows["top1_pct"], yerr=error, ls="none", ecolor=colour, elinewidth=1.4, marker=marker, ms=6.5,
                      mfc=fill, mec=style.INK, mew=0.8, label=label)  # fmt: skip
        theirs = [(x, paper[model]) for x, model in zip(at, rows["model"], strict=True) if model in paper]
        if theirs:
            axes.plot(*zip(*theirs, strict=True), marker="D", ls="none", mfc="none", mec=style.INK, ms=5,
                      label=f"{label} in the paper")  # fmt: skip
    axes.set_xticks(list(places.values()), list(places))
    axes.set(xlabel="format", ylabel="top-1 on held-out images [%]", xlim=(-0.6, len(places) - 0.4))
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower left", ncols=2, handletextpad=0.4)
    return figure


@style.styled
def bits(points: pd.DataFrame, finding: str) -> Figure:
    """Error of the answers (with its trend, logarithmic) above, validation accuracy below, against the bits.

    Args:
        points: Rows of the bits stage.
        finding: What the numbers say, for the title.
    """
    figure, (above, below) = style.figure(finding, height=5.2, rows=2)
    for granularity, rows in points.groupby("granularity", sort=False):
        marker, colour, label = SCALES[str(granularity)]
        above.plot(rows["bits"], rows["output_error_relative"], marker, ms=5.5, color=colour, label=label)
        if rows["output_error_relative_trend"].notna().all():
            above.plot(rows["bits"], rows["output_error_relative_trend"], "--", lw=1.2, color=colour)
        low, high = _wilson(rows)
        error = [(rows["validation_top1_pct"] - low).clip(lower=0), (high - rows["validation_top1_pct"]).clip(lower=0)]
        below.errorbar(rows["bits"], rows["validation_top1_pct"], yerr=error, marker=marker, ms=5, lw=1.2,
                       elinewidth=1, color=colour)  # fmt: skip
    above.set(yscale="log", ylabel="relative error of the logits")
    above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    below.set(xlabel="bits per weight, without scales", ylabel="validation top-1 [%]")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower left", ncols=2, title="dashed: fitted trend", alignment="left")
    return figure


def _level(axes: Axes, row: pd.Series, line: str, label: str) -> None:
    axes.axhline(row["top1_pct"], ls=line, lw=1.4, color=style.GREY, label=label)
    axes.axhspan(row["top1_pct_low"], row["top1_pct_high"], color=style.GREY, alpha=0.12, lw=0)


def _wilson(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    counts = rows["n"].to_numpy(int)
    right = np.rint(rows["validation_top1_pct"].to_numpy(float) * counts / 100).astype(int)
    found = [wilson_interval(int(hits), int(n)) for hits, n in zip(right, counts, strict=True)]
    low, high = (100 * np.array(found)).T
    return low, high
