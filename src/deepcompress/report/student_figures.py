"""Figures about students: accuracy beside teachers, alignment with them, other colours, teacher size, strips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from deepcompress.report import style

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP1 = "top-1 on held-out images [%]"
MARGIN = 0.04  # inches
PITCH = (1.11, 1.3)  # from picture to picture of a strip, to the right and down, in sides of a picture
STUDENT, TEACHER = style.COLOURS["students"], style.COLOURS["teachers"]


@style.styled
def accuracies(models: pd.DataFrame, paper: Mapping[str, float], finding: str) -> Figure:
    """Teachers and students, a line each, with intervals; the dotted line is the independent student.

    Args:
        models: Rows of the evaluation, from top to bottom.
        paper: Model id -> the paper's top-1 [%]; empty where another data set makes it meaningless.
        finding: What the numbers say, for the title.
    """
    figure, (axes,) = style.figure(finding, height=1.5 + 0.21 * len(models))
    at = np.arange(len(models))[::-1]
    for family, colour in (("teachers", TEACHER), ("students", STUDENT)):
        rows, places = models[models["family"] == family], at[(models["family"] == family).to_numpy()]
        _dots(axes, rows, "top1_pct", places, colour=colour, label=f"{family}, 95 % interval")
    alone = models.loc[models["name"] == "independent", "top1_pct"]
    if not alone.empty:
        axes.axvline(alone.iloc[0], color=style.GREY, ls=":", lw=1.4)
    theirs = [(paper[model], y) for model, y in zip(models["model"], at, strict=True) if model in paper]
    if theirs:
        axes.plot(*zip(*theirs, strict=True), "D", ms=5, mfc="none", mec=style.INK, label="paper", ls="none")
    _names(axes, models["name"], at)
    axes.set_xlabel(TOP1)
    figure.legend(loc="outside lower left", ncols=3, handletextpad=0.3, columnspacing=1.0)
    return figure


@style.styled
def alignment(rows: pd.DataFrame, finding: str) -> Figure:
    """KL divergence of answers above, SSIM of attention maps with both nulls below, a line per student.

    Args:
        rows: Of one teacher: `name`, `kl_nats`, `kl_softened_nats`, `temperature`, `ssim` with its interval,
            `ssim_other_image`.
        finding: What the numbers say, for the title.
    """
    figure, (above, below) = style.grid(finding, 2, 1, height=2.4 + 0.42 * len(rows))
    at = np.arange(len(rows))[::-1]
    softened = f"temperature {rows['temperature'].iloc[0]:g}"
    above.plot(rows["kl_nats"], at, "o", ms=6, mfc=STUDENT, mec=style.INK, mew=0.6, label="temperature 1")
    above.plot(rows["kl_softened_nats"], at, "o", ms=6, mfc="none", mec=STUDENT, mew=1.4, label=softened)
    above.set_xlabel("KL(teacher || student) [nats]; lower is closer")
    above.set_xlim(left=0)
    _dots(below, rows, "ssim", at, colour=STUDENT, label="to the teacher's map, 95 %")
    below.plot(rows["ssim_other_image"], at, "x", color=style.INK, ms=6, label="null: another image's")
    null = rows["ssim_independent"].iloc[0]
    below.axvline(null, color=style.GREY, ls=":", lw=1.4, label="independent's")
    below.set_xlabel("SSIM of Grad-CAM maps; higher is closer")
    for axes in (above, below):
        _names(axes, rows["name"], at)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8, handletextpad=0.3, borderpad=0)
    return figure


@style.styled
def colours(rows: pd.DataFrame, finding: str) -> Figure:
    """Accuracy on images as they are and on the jittered copy, a line per model, each with its interval.

    Args:
        rows: `model`, `name`, `top1_pct` and `jittered_top1_pct` with their intervals.
        finding: What the numbers say, for the title.
    """
    figure, (axes,) = style.figure(finding, height=1.5 + 0.24 * len(rows))
    at = np.arange(len(rows))[::-1]
    axes.hlines(at, rows["jittered_top1_pct"], rows["top1_pct"], color=style.GRID, lw=4)
    _dots(axes, rows, "top1_pct", at, colour=style.GREY, label="as they are")
    is_teacher = rows["model"].str.startswith("teachers/").to_numpy()
    for which, colour, label in ((is_teacher, TEACHER, "jittered: teachers"), (~is_teacher, STUDENT, "students")):
        _dots(axes, rows[which], "jittered_top1_pct", at[which], colour=colour, label=label)
    _names(axes, rows["name"], at)
    axes.set_xlabel("top-1 on validation images [%], 95 % intervals")
    figure.legend(loc="outside lower left", ncols=3, handletextpad=0.3, columnspacing=1.0)
    return figure


@style.styled
def teacher_size(rows: pd.DataFrame, teachers: Sequence[str], finding: str) -> Figure:
    """Students of each method, a dot per teacher with its interval.

    Args:
        rows: Students with `method`, `teacher` and `top1_pct` with its interval.
        teachers: The smaller first.
        finding: What the numbers say, for the title.
    """
    methods = list(dict.fromkeys(rows["method"]))
    figure, (axes,) = style.figure(finding, height=1.4 + 0.3 * len(methods))
    at = np.arange(len(methods))[::-1]
    for i, teacher in enumerate(teachers):
        own = rows[rows["teacher"] == teacher].set_index("method").reindex(methods).reset_index()
        places = at + 0.18 * (len(teachers) - 1 - 2 * i) / 2
        marker = style.MARKERS[i % len(style.MARKERS)]
        _dots(axes, own, "top1_pct", places, colour=STUDENT, label=f"taught by {teacher}", marker=marker)
    _names(axes, methods, at)
    axes.set_xlabel(TOP1 + ", 95 % intervals")
    figure.legend(loc="outside lower left", ncols=2, handletextpad=0.3)
    return figure


@style.styled
def strips(
    pictures: Sequence[np.ndarray],
    maps: Mapping[str, Sequence[np.ndarray]],
    notes: Mapping[str, Sequence[str]],
    finding: str,
) -> Figure:
    """Images in columns; below each the attention map of every model laid over it, its note underneath.

    All in one axes, since an axes for each picture takes ten times as long to lay out and draw.

    Args:
        pictures: RGB, 0..255.
        maps: By model, the teacher first: 0..255, one per picture.
        notes: By model, such as the SSIM to the teacher, one per picture.
        finding: What the numbers say, for the title.
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
            share = np.asarray(seen, float) / 255
            axes.imshow(hot(share), alpha=0.25 + 0.5 * share, extent=extent)
            axes.text((left + right) / 2, bottom - 0.04, notes[model][column], fontsize=7, ha="center", va="top")
    _, right, bottom, _ = _place(len(maps), len(pictures) - 1)
    axes.set(xlim=(0, right), ylim=(bottom - 0.2, 0), xticks=[])
    axes.set_yticks([sum(_place(row, 0)[2:]) / 2 for row in range(len(maps) + 1)], ["image", *maps], fontsize=8)
    axes.tick_params(length=0)
    _fit(figure, axes)
    return figure


def _fit(figure: Figure, axes: Axes) -> None:
    """Lay out axes of a fixed aspect: as wide as the names beside them leave room for, and as high as that makes."""
    figure.set_layout_engine(None)
    (title,), names = figure.texts, axes.get_yticklabels()
    left = max(name.get_window_extent().width for name in names) / figure.dpi + 3 * MARGIN
    above = title.get_window_extent().height / figure.dpi + 4 * MARGIN
    width = style.WIDTH_INCHES - left - MARGIN
    height = width * abs(np.diff(axes.get_ylim())[0] / np.diff(axes.get_xlim())[0])
    figure.set_figheight(above + height)
    title.set_y(1 - MARGIN / (above + height))
    axes.set_position((left / style.WIDTH_INCHES, 0, width / style.WIDTH_INCHES, height / (above + height)))


def _place(row: int, column: int) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a picture of side 1 in a strip."""
    left, top = PITCH[0] * column, -PITCH[1] * row
    return left, left + 1, top - 1, top


def _dots(
    axes: Axes, rows: pd.DataFrame, column: str, at: np.ndarray, *, colour: str, label: str, marker: str = "o"
) -> None:
    """Values with their intervals, from the columns `<column>`, `<column>_low` and `<column>_high`."""
    if rows.empty:
        return
    axes.hlines(at, rows[f"{column}_low"], rows[f"{column}_high"], color=colour, lw=2)
    axes.plot(rows[column], at, marker, ms=6, mfc=colour, mec=style.INK, mew=0.6, ls="none", label=label)


def _names(axes: Axes, names: Iterable[str], at: np.ndarray) -> None:
    axes.set_yticks(at, list(names))
    axes.set_ylim(-0.7, len(at) - 0.3)
    axes.grid(axis="y", visible=False)
