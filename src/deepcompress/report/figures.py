"""All figures: one function each, tables in, `Figure` out, the finding as its title, intervals drawn.

`finding` is what the numbers say, for the title; `theirs` holds the source report's value by model id, and is empty
where other data makes it meaningless. A column such as `top1_pct` stands for itself, `top1_pct_low` and
`top1_pct_high`, its 95 % interval.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from deepcompress.measure.statistics import wilson_interval
from deepcompress.report import queries, style, tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP1 = "top-1 on held-out images [%]"
VALIDATION = "top-1 on validation images [%]"
SOURCE_REPORT = "source report"
LINES_IN_LEGEND, HISTOGRAMS_ACROSS = 8, 3
MARGIN_INCHES = 0.04
PITCH = (1.11, 1.3)  # from picture to picture of a strip, to the right and down, in sides of a picture
STUDENT, TEACHER, QUANTIZED = (style.COLOURS[family] for family in ("students", "teachers", "quantized"))
METHODS = {"unstructured": ("o", style.BLUE), "structured": ("s", style.COLOURS["combined"])}
MODES = {"ptq": ("o", style.CARD, "PTQ", -0.13), "qat": ("s", QUANTIZED, "QAT", 0.13)}  # last: beside a format's place
SCALES = {"channel": ("o", style.BLUE, "one scale per channel"), "group": ("s", QUANTIZED, "scales per group")}
ENGINES = {
    queries.PYTORCH: ("o", style.GREY),
    queries.FLOAT: ("s", style.BLUE),
    queries.INT8: ("D", QUANTIZED),
    queries.INT4: ("v", style.COLOURS["combined"]),
}
COSTS = {"size_mib": "file size [MiB], logarithmic", "macs_million": "MACs for one image [million], logarithmic"}


@style.styled
def accuracy_size(models: pd.DataFrame, finding: str) -> Figure:
    """Accuracy against bytes on disk: upwards and leftwards is better; the Pareto front is a dotted line."""
    groups = models.groupby(["family", "variant"], sort=False)
    figure, (axes,) = style.figure(finding, height=3.7 + 0.17 * ((len(groups) + 1) // 2))
    front = tables.pareto(models)
    axes.step(front["size_mib"], front["top1_pct"], where="post", ls=":", lw=1.2, color=style.MUTED, zorder=1.5)
    for key, rows in groups:
        family, variant = str(key[0]), str(key[1])
        markers = style.markers(models.loc[models["family"] == family, "variant"])
        axes.errorbar(
            rows["size_mib"], rows["top1_pct"], yerr=style.errors(rows), ls="none", marker=markers[variant], ms=6.5,
            mfc=style.colour(family), mec=style.INK, mew=0.6, ecolor=style.colour(family), elinewidth=1.1,
            label=family if family == variant else f"{family}: {variant}",
        )  # fmt: skip
    style.log_axis(axes, models["size_mib"], COSTS["size_mib"])
    axes.set_ylabel(TOP1)
    axes.margins(y=0.1)
    style.legend(figure)
    named = models[models["model"].isin({*front["model"], tables.BASELINE})].sort_values("top1_pct")
    style.write_names(axes, list(named["name"]), list(named["size_mib"]), list(named["top1_pct"]))
    return figure


@style.styled
def differences(models: pd.DataFrame, theirs: Mapping[str, float], finding: str) -> Figure:
    """Points that models of one family lost or won against the baseline, beside the source report's own difference."""
    figure, (axes,) = style.figure(finding, height=1.6 + 0.22 * len(models))
    at = np.arange(len(models))[::-1]
    axes.axvline(0, color=style.GREY, lw=1.4)
    colour = style.colour(models["family"].iloc[0])
    style.dots(axes, models, "difference_points", at, colour=colour, label="here, 95 % interval")
    _source_report(axes, models["model"], at, theirs)
    style.names(axes, models["name"], at)
    axes.set_xlabel("top-1, difference to own baseline [points]")
    style.legend(figure)
    return figure


@style.styled
def training_curves(history: pd.DataFrame, finding: str) -> Figure:
    """Validation accuracy above, training loss below, against the epoch, for the runs of one family."""
    runs = list(history.groupby("name", sort=False))
    listed = min(len(runs), LINES_IN_LEGEND)
    figure, (above, below) = style.figure(finding, height=4.4 + 0.1 * listed, rows=2, sharex=True)
    for i, (name, run) in enumerate(runs):
        marker, colour = style.MARKERS[i % len(style.MARKERS)], style.colour(run["family"].iloc[0])
        look: dict[str, Any] = {"color": colour, "marker": marker, "ms": 4, "lw": 1.2, "mec": style.INK, "mew": 0.4}
        look |= {"alpha": 0.9, "markevery": max(1, len(run) // 15)}
        above.plot(run["epoch"], run["validation_top1_pct"], label=name if i < LINES_IN_LEGEND else None, **look)
        below.plot(run["epoch"], run["train_loss"], **look)
    above.set_ylabel("validation top-1 [%]")
    below.set(xlabel="epoch", ylabel="training loss")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(runs) > 1:
        title = f"the first {listed} of {len(runs)} runs" if listed < len(runs) else None
        style.legend(figure, title=title, alignment="left")
    return figure


@style.styled
def class_accuracy(per_class: pd.DataFrame, classes: list[str], finding: str) -> Figure:
    """Accuracy on single classes from top to bottom, a dot per model with its interval.

    Args:
        per_class: Rows (model, family, class, n, top1_pct) of the models to show.
        classes: Which classes.
    """
    figure, (axes,) = style.figure(finding, height=1.4 + 0.2 * len(classes))
    at, models = np.arange(len(classes))[::-1], list(dict.fromkeys(per_class["model"]))
    for i, model in enumerate(models):
        rows = per_class[per_class["model"] == model].set_index("class").loc[classes]
        rows = _with_wilson(rows, "top1_pct")
        places, colour = at + (len(models) - 1 - 2 * i) * 0.13, style.colour(rows["family"].iloc[0])
        style.dots(axes, rows, "top1_pct", places, colour=colour, label=model, marker=style.MARKERS[i])
    style.names(axes, classes, at)
    axes.set(xlabel=TOP1, xlim=(-2, 102))
    style.legend(figure)
    return figure


@style.styled
def weight_histograms(rows: pd.DataFrame, finding: str, *, family: str) -> Figure:
    """A small histogram per layer of the weights that are not zero; the share of zeros stands in its corner.

    Args:
        rows: Of one model: `layer`, `low`, `high`, `count`, `zeros`, `weights`.
        family: Whose colour the bars have.
    """
    layers = list(dict.fromkeys(rows["layer"]))
    down = math.ceil(len(layers) / HISTOGRAMS_ACROSS)
    figure, grid = style.figure(finding, rows=down, columns=HISTOGRAMS_ACROSS, height=0.7 + 1.05 * down)
    for axes, layer in zip(grid, layers, strict=False):
        bins = rows[rows["layer"] == layer]
        edges = [*bins["low"], bins["high"].iloc[-1]]
        axes.stairs(bins["count"], edges, fill=True, color=style.colour(family))  # one shape, not one per bin
        zeros = bins["zeros"].iloc[0] / bins["weights"].iloc[0]
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
    """
    layers = list(dict.fromkeys(rows["layer"]))
    figure, (axes,) = style.figure(finding, height=3.6 + 0.17 * math.ceil(len(layers) / 3))
    shades = np.linspace(0, len(style.SHADES) - 1, len(layers)).round().astype(int)
    for place, layer in enumerate(layers):
        curve = rows[rows["layer"] == layer]
        axes.errorbar(
            curve["sparsity"], curve["top1_pct"], yerr=curve["top1_se_pct"], color=style.SHADES[shades[place]],
            ls="--" if layer.startswith("classifier") else "-", marker=style.MARKERS[place % len(style.MARKERS)],
            ms=4.5, lw=1.3, elinewidth=0.8, label=layer,
        )  # fmt: skip
    axes.set(xlabel="sparsity of that layer alone", ylabel=VALIDATION)
    style.legend(figure, ncols=3, fontsize=8, columnspacing=1.0, handlelength=2.4)
    return figure


@style.styled
def sparsity_accuracy(curves: Mapping[tuple[str, str], pd.DataFrame], baseline: pd.Series, finding: str) -> Figure:
    """Held-out accuracy against sparsity: both methods, before fine-tuning (dashed) and fine-tuned (solid).

    Args:
        curves: (method, `masked` or `pruned`) -> rows with `sparsity` and `top1_pct`.
        baseline: Its row of the evaluation.
    """
    figure, (axes,) = style.figure(finding, height=4.0)
    _level(axes, baseline, "-", "baseline")
    for (method, family), rows in curves.items():
        (marker, colour), tuned = METHODS[method], family == "pruned"
        axes.errorbar(
            rows["sparsity"], rows["top1_pct"], yerr=style.errors(rows), color=colour, marker=marker, ms=5.5, lw=1.4,
            mfc=colour if tuned else style.CARD, ls="-" if tuned else "--", elinewidth=1,
            label=f"{method}, {'fine-tuned' if tuned else 'before fine-tuning'}",
        )  # fmt: skip
    axes.set(xlabel="sparsity", ylabel=TOP1)
    style.legend(figure, fontsize=8.5)
    return figure


@style.styled
def formats(
    models: pd.DataFrame, baseline: pd.Series, control: pd.Series | None, theirs: Mapping[str, float], finding: str
) -> Figure:
    """Accuracy of both modes at every format, with intervals; the float control is a dashed line with its band.

    Args:
        models: Rows with `method` and `format`, in the order of the formats; without the control.
        baseline: Its row of the evaluation.
        control: The row of the equally long float training, if there is one.
        theirs: Model id -> the source report's top-1 [%].
    """
    figure, (axes,) = style.figure(finding, height=3.9)
    _level(axes, baseline, "-", "baseline")
    if control is not None:
        _level(axes, control, "--", "float control: as long, not rounded")
    places = {name: at for at, name in enumerate(dict.fromkeys(models["format"]))}
    for mode, (marker, fill, label, beside) in MODES.items():
        rows = models[models["method"] == mode]
        at = rows["format"].map(places).to_numpy(float) + beside
        axes.errorbar(at, rows["top1_pct"], yerr=style.errors(rows), ls="none", ecolor=QUANTIZED, elinewidth=1.4,
                      marker=marker, ms=6.5, mfc=fill, mec=style.INK, mew=0.8, label=label)  # fmt: skip
        values = rows["model"].map(theirs).to_numpy(float)
        if np.isfinite(values).any():
            axes.plot(at, values, "D", mfc="none", mec=style.INK, ms=5, label=f"{label} in the {SOURCE_REPORT}")
    axes.set_xticks(list(places.values()), list(places))
    axes.set(xlabel="format", ylabel=TOP1, xlim=(-0.6, len(places) - 0.4))
    axes.grid(axis="x", visible=False)
    style.legend(figure)
    return figure


@style.styled
def bits(points: pd.DataFrame, finding: str) -> Figure:
    """Error of the logits (with its trend, logarithmic) above, validation accuracy below, against the bits."""
    figure, (above, below) = style.figure(finding, height=5.2, rows=2, sharex=True)
    for granularity, rows in points.groupby("granularity", sort=False):
        marker, colour, label = SCALES[str(granularity)]
        above.plot(rows["bits"], rows["output_error_relative"], marker, ms=5.5, color=colour, label=label)
        if rows["output_error_relative_trend"].notna().all():
            above.plot(rows["bits"], rows["output_error_relative_trend"], "--", lw=1.2, color=colour)
        rows = _with_wilson(rows, "validation_top1_pct")
        below.errorbar(rows["bits"], rows["validation_top1_pct"], yerr=style.errors(rows, "validation_top1_pct"),
                       marker=marker, ms=5, lw=1.2, elinewidth=1, color=colour)  # fmt: skip
    above.set(yscale="log", ylabel="relative error of the logits")
    above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    below.set(xlabel="bits per weight, without scales", ylabel="validation top-1 [%]")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend(figure, title="dashed: fitted trend", alignment="left")
    return figure


@style.styled
def student_accuracies(models: pd.DataFrame, control: str | None, theirs: Mapping[str, float], finding: str) -> Figure:
    """Teachers and students, a line each, with intervals; the dotted line is the independent student, `control`."""
    figure, (axes,) = style.figure(finding, height=1.5 + 0.21 * len(models))
    at = np.arange(len(models))[::-1]
    for family in ("teachers", "students"):
        chosen = (models["family"] == family).to_numpy()
        label = f"{family}, 95 % interval"
        style.dots(axes, models[chosen], "top1_pct", at[chosen], colour=style.colour(family), label=label)
    for top1 in models.loc[models["model"] == control, "top1_pct"]:
        axes.axvline(top1, color=style.GREY, ls=":", lw=1.4)
    _source_report(axes, models["model"], at, theirs)
    style.names(axes, models["name"], at)
    axes.set_xlabel(TOP1)
    style.legend(figure, ncols=3, columnspacing=1.0)
    return figure


@style.styled
def alignment(rows: pd.DataFrame, finding: str) -> Figure:
    """KL divergence of answers above, SSIM of attention maps with both nulls below, a line per student.

    Args:
        rows: Of one teacher: `name`, `kl_nats`, `kl_softened_nats`, `temperature`, `ssim`, `ssim_other_image`.
    """
    figure, (above, below) = style.figure(finding, rows=2, height=2.4 + 0.42 * len(rows))
    at = np.arange(len(rows))[::-1]
    softened = f"temperature {rows['temperature'].iloc[0]:g}"
    above.plot(rows["kl_nats"], at, "o", ms=6, mfc=STUDENT, mec=style.INK, mew=0.6, label="temperature 1")
    above.plot(rows["kl_softened_nats"], at, "o", ms=6, mfc="none", mec=STUDENT, mew=1.4, label=softened)
    above.set_xlabel("KL(teacher || student) [nats]; lower is closer")
    above.set_xlim(left=0)
    style.dots(below, rows, "ssim", at, colour=STUDENT, label="to the teacher's map, 95 %")
    below.plot(rows["ssim_other_image"], at, "x", color=style.INK, ms=6, label="null: another image's")
    below.axvline(rows["ssim_independent"].iloc[0], color=style.GREY, ls=":", lw=1.4, label="independent's")
    below.set_xlabel("SSIM of Grad-CAM maps; higher is closer")
    for axes in (above, below):
        style.names(axes, rows["name"], at)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8, handletextpad=0.3, borderpad=0)
    return figure


@style.styled
def colour_jitter(rows: pd.DataFrame, finding: str) -> Figure:
    """Accuracy on images as they are and under colour jitter, a line per model.

    Args:
        rows: `name`, `family`, `top1_pct` and `jittered_top1_pct` with their intervals.
    """
    figure, (axes,) = style.figure(finding, height=1.5 + 0.24 * len(rows))
    at = np.arange(len(rows))[::-1]
    axes.hlines(at, rows["jittered_top1_pct"], rows["top1_pct"], color=style.GRID, lw=4)
    style.dots(axes, rows, "top1_pct", at, colour=style.GREY, label="as they are")
    teachers = (rows["family"] == "teachers").to_numpy()
    for chosen, colour, label in ((teachers, TEACHER, "jittered: teachers"), (~teachers, STUDENT, "students")):
        style.dots(axes, rows[chosen], "jittered_top1_pct", at[chosen], colour=colour, label=label)
    style.names(axes, rows["name"], at)
    axes.set_xlabel("top-1 on validation images [%], 95 % intervals")
    style.legend(figure, ncols=3, columnspacing=1.0)
    return figure


@style.styled
def teacher_size(rows: pd.DataFrame, teachers: Mapping[str, str], finding: str) -> Figure:
    """Students of each method, a dot per teacher with its interval.

    Args:
        rows: Students with `method`, `teacher` and `top1_pct`.
        teachers: Id -> name, the smaller first.
    """
    methods = list(dict.fromkeys(rows["method"]))
    figure, (axes,) = style.figure(finding, height=1.4 + 0.3 * len(methods))
    at = np.arange(len(methods))[::-1]
    for i, (teacher, name) in enumerate(teachers.items()):
        taught = rows[rows["teacher"] == teacher].set_index("method").reindex(methods)
        places = at + 0.09 * (len(teachers) - 1 - 2 * i)
        style.dots(axes, taught, "top1_pct", places, colour=STUDENT, label=f"taught by {name}", marker=style.MARKERS[i])
    style.names(axes, methods, at)
    axes.set_xlabel(f"{TOP1}, 95 % intervals")
    style.legend(figure)
    return figure


@style.styled
def strip(
    pictures: Sequence[np.ndarray],
    maps: Mapping[str, Sequence[np.ndarray]],
    notes: Mapping[str, Sequence[str]],
    finding: str,
) -> Figure:
    """Images in columns; below each the attention map of every model laid over it, its note underneath.

    All in one axes, since an axes for each picture takes ten times as long to lay out and draw.

    Args:
        pictures: RGB, 0..255, each (side, side, 3).
        maps: By model, the teacher first: 0..255, each (side, side), one per picture.
        notes: By model, such as the SSIM to the teacher, one per picture.
    """
    figure, (axes,) = style.figure(finding)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    for column, picture in enumerate(pictures):
        axes.imshow(picture, extent=_place(0, column))
    hot = matplotlib.colormaps["inferno"]
    for row, (model, own) in enumerate(maps.items(), 1):
        for column, (picture, seen) in enumerate(zip(pictures, own, strict=True)):
            left, right, bottom, _ = extent = _place(row, column)
            axes.imshow(picture.mean(2), cmap="gray", vmin=0, vmax=255, extent=extent)
            heat = np.asarray(seen, float) / 255
            axes.imshow(hot(heat), alpha=0.25 + 0.5 * heat, extent=extent)
            axes.text((left + right) / 2, bottom - 0.04, notes[model][column], fontsize=7, ha="center", va="top")
    _, right, bottom, _ = _place(len(maps), len(pictures) - 1)
    axes.set(xlim=(0, right), ylim=(bottom - 0.2, 0), xticks=[])
    axes.set_yticks([sum(_place(row, 0)[2:]) / 2 for row in range(len(maps) + 1)], ["image", *maps], fontsize=8)
    axes.tick_params(length=0)
    _fit(figure, axes)
    return figure


@style.styled
def attention(rows: pd.DataFrame, independent: float | None, finding: str) -> Figure:
    """SSIM to the baseline with its interval, and to the baseline's map of another image, per model.

    Args:
        rows: `model`, `family`, `ssim` with its interval, `ssim_other_image`.
        independent: The SSIM of a network that was trained apart from the baseline, as a dotted line.
    """
    figure, (axes,) = style.figure(finding, height=1.1 + 0.24 * len(rows))
    at = np.arange(len(rows))[::-1]
    for family in dict.fromkeys(rows["family"]):
        chosen = (rows["family"] == family).to_numpy()
        style.dots(axes, rows[chosen], "ssim", at[chosen], colour=style.colour(family), label="_")
    axes.plot(rows["ssim_other_image"], at, "|", ms=8, color=style.MUTED, label="to the map of another image")
    if independent is not None:
        axes.axvline(independent, color=style.GREY, ls=":", lw=1.4, label="independent student")
    style.names(axes, rows["model"], at, fontsize=8)
    axes.set_xlabel("SSIM to the baseline's maps, 95 %")
    style.legend(figure)
    return figure


@style.styled
def cost(rows: pd.DataFrame, finding: str) -> Figure:
    """Accuracy against all that a model cost, `total` [10^12 MACs], a point per model, coloured by family."""
    figure, (axes,) = style.figure(finding, height=4.4)
    for family, models in rows.groupby("family", sort=False):
        colour = style.colour(str(family))
        axes.vlines(models["total"], models["top1_pct_low"], models["top1_pct_high"], color=colour, alpha=0.3)
        axes.plot(models["total"], models["top1_pct"], "o", ms=6, color=colour, mec=style.INK, mew=0.5, label=family)
    style.log_axis(axes, rows["total"], "cost to make, with all it builds on [10¹² MACs], logarithmic")
    axes.set_ylabel(TOP1)
    style.legend(figure, ncols=3)
    return figure


@style.styled
def recommendation(rows: pd.DataFrame, chosen: str, limit_pct: float, finding: str) -> Figure:
    """Validation accuracy against bytes above, against MACs below.

    Filled on the Pareto front of the three, pale behind it, ringed when chosen.

    Args:
        rows: Of results/recommendation.csv, with `family` and `name`.
        chosen: Id of the recommended model.
        limit_pct: The lowest accuracy that is allowed [%].
    """
    figure, grid = style.figure(finding, rows=2, height=6.4)
    top1, best = "validation_top1_pct", rows[rows["model"] == chosen]
    for axes, (cost, label) in zip(grid, COSTS.items(), strict=True):
        axes.axhline(limit_pct, ls="--", lw=1, color=style.MUTED, zorder=1)
        for (family, on_front), models in rows.groupby(["family", "on_front"], sort=False):
            look: dict[str, Any] = {"color": style.colour(str(family)), "alpha": 1.0 if on_front else 0.3}
            bars = {**look, "alpha": look["alpha"] / 2}
            axes.vlines(models[cost], models[f"{top1}_low"], models[f"{top1}_high"], **bars)
            axes.plot(models[cost], models[top1], "o", ms=6.5, mec=style.INK, mew=0.6, **look)
        for family in dict.fromkeys(rows["family"]):
            axes.plot([], [], "o", ms=6.5, color=style.colour(family), mec=style.INK, mew=0.6, label=family)
        ring: dict[str, Any] = {"ms": 13, "mfc": "none", "mec": style.INK, "mew": 1.6}
        axes.plot(best[cost], best[top1], "o", label="recommended", **ring)
        style.log_axis(axes, rows[cost], label)
        axes.set_ylabel(VALIDATION)
        axes.margins(y=0.1)
    style.legend(figure, ncols=3)
    named = rows[rows["on_front"] | rows["model"].isin({chosen, tables.BASELINE})].sort_values(top1)
    for axes, cost in zip(grid, COSTS, strict=True):
        style.write_names(axes, list(named["name"]), list(named[cost]), list(named[top1]))
    return figure


@style.styled
def speed(rows: pd.DataFrame, finding: str) -> Figure:
    """Speed against the dense float model in the same engine, a panel per batch size; bars from quartile to quartile.

    Args:
        rows: Of results/benchmark/latency.csv, with `dense_ms_p50`, the median of that dense model.
    """
    models, sizes = list(dict.fromkeys(rows["model"])), sorted(rows["batch_size"].unique())
    figure, grid = style.figure(finding, rows=len(sizes), height=0.9 + len(sizes) * (0.8 + 0.3 * len(models)))
    for axes, size in zip(grid, sizes, strict=True):
        axes.axvline(1, ls="--", lw=1, color=style.MUTED, zorder=1)
        for shift, (engine, (marker, colour)) in enumerate(ENGINES.items()):
            timed = rows[(rows["batch_size"] == size) & (rows["engine"] == engine)]
            at = np.array([models.index(model) + 0.18 * (shift - 1.5) for model in timed["model"]])
            low, high = (timed["dense_ms_p50"] / timed[f"latency_ms_{part}"] for part in ("p75", "p25"))
            spans = timed.assign(speedup_low=low, speedup_high=high)
            style.dots(axes, spans, "speedup", at, colour=colour, label=queries.ENGINES[engine], marker=marker)
        axes.set(yticks=range(len(models)), yticklabels=models, xlabel=f"times as fast, {size} image(s) per call")
        axes.invert_yaxis()
        axes.set_xlim(left=0)
    style.legend(figure)
    return figure


def _source_report(axes: Axes, models: Iterable[str], at: np.ndarray, theirs: Mapping[str, float]) -> None:
    """Diamonds where the source report has a number."""
    points = [(theirs[model], y) for model, y in zip(models, at, strict=True) if model in theirs]
    if points:
        axes.plot(*zip(*points, strict=True), "D", ms=5, mfc="none", mec=style.INK, ls="none", label=SOURCE_REPORT)


def _level(axes: Axes, row: pd.Series, line: str, label: str) -> None:
    axes.axhline(row["top1_pct"], ls=line, lw=1.4, color=style.GREY, label=label)
    axes.axhspan(row["top1_pct_low"], row["top1_pct_high"], color=style.GREY, alpha=0.12, lw=0)


def _with_wilson(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows with the 95 % interval of a percentage of `n` images, as `<column>_low` and `<column>_high`."""
    right = (rows[column] * rows["n"] / 100).round().astype(int)
    bounds = [wilson_interval(int(hits), int(n)) for hits, n in zip(right, rows["n"], strict=True)]
    low, high = (100 * np.array(bounds)).T
    return rows.assign(**{f"{column}_low": low, f"{column}_high": high})


def _place(row: int, column: int) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a picture of side 1 in a strip."""
    left, top = PITCH[0] * column, -PITCH[1] * row
    return left, left + 1, top - 1, top


def _fit(figure: Figure, axes: Axes) -> None:
    """Lay out axes of a fixed aspect: as wide as the names beside them leave room for, and as high as that makes."""
    figure.set_layout_engine(None)
    (title,), names = figure.texts, axes.get_yticklabels()
    left = max(name.get_window_extent().width for name in names) / figure.dpi + 3 * MARGIN_INCHES
    above = title.get_window_extent().height / figure.dpi + 4 * MARGIN_INCHES
    width = style.WIDTH_INCHES - left - MARGIN_INCHES
    height = width * abs(np.diff(axes.get_ylim())[0] / np.diff(axes.get_xlim())[0])
    figure.set_figheight(above + height)
    title.set_y(1 - MARGIN_INCHES / (above + height))
    axes.set_position((left / style.WIDTH_INCHES, 0, width / style.WIDTH_INCHES, height / (above + height)))
