"""What all figures share: palette, sizes, an empty figure with its finding, and the marks that most of them draw.

Colour = family, marker = variant, grey = baseline. The colours are Okabe and Ito's, which differ for any colour
vision, but for their yellow, which vanishes on white; their orange is darker here and their vermilion redder, so that
every colour has a contrast of 3 : 1 with white paper and with the dark page (WCAG 2.2, 1.4.11). The colours with a
name of their own are exact values that the page replaces by its theme's, so that one drawing reads well on both.

Source: Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

P = ParamSpec("P")

INK, MUTED, GRID, CARD = "#1f2328", "#57606b", "#d8dde3", "#fefefe"
GREY, BLUE = "#767c85", "#0072b2"
COLOURS = {
    "baseline": GREY,
    "pruned": BLUE,
    "quantized": "#c08500",
    "teachers": "#cc79a7",
    "students": "#009e73",
    "combined": "#c8442a",
    "shipped": INK,
}
OTHER_COLOUR = "#999933"  # Tol's olive: sky blue is too near to what blue becomes on dark ground
# Lines of one family in their order, such as layers: matplotlib's plasma, its ends mixed with white or black.
SHADES = ("#8057bd", "#8d4bc0", "#9b43bf", "#a63cb4", "#b138a0", "#bc3587", "#cd4a76", "#dc5d67", "#e77156", "#dc7a42",
          "#ce842f", "#be8b21")  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d")

WIDTH_INCHES = 4.8
DOTS_PER_INCH = 160
TITLE_LETTERS = 56
RC: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "legend.fontsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "svg.hashsalt": "deepcompress",
    "svg.fonttype": "path",
}
# Where a name may stand: offset from its point in typographic points, and the side that it is aligned to.
PLACES = (
    (6, 0, "left", "center"), (-6, 0, "right", "center"), (0, 6, "center", "bottom"), (0, -6, "center", "top"),
    (6, 7, "left", "bottom"), (-6, 7, "right", "bottom"), (6, -7, "left", "top"), (-6, -7, "right", "top"),
    (0, 17, "center", "bottom"), (0, -17, "center", "top"),
)  # fmt: skip


def context() -> AbstractContextManager[None]:
    """The style while it holds; needed to draw and again to write, since some settings are read only then."""
    return matplotlib.rc_context(RC)


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a function that draws: the style holds while it runs and nowhere else, and its layout is then final.

    Each figure is written twice, for DVC and into the page; laying it out takes as long as drawing it.
    """

    @functools.wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with context():
            made = draw(*args, **kwargs)
            engine = made.get_layout_engine()
            if engine is not None:
                engine.execute(made)
                made.set_layout_engine(None)  # with "none" every writing would draw twice, as if to find a layout
            return made

    return inside


def figure(
    finding: str, *, height: float = 3.6, rows: int = 1, columns: int = 1, sharex: bool = False
) -> tuple[Figure, list[Axes]]:
    """An empty figure, narrow enough to be read on a phone, with its finding as a title, and its axes row by row."""
    made = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    made.suptitle(
        textwrap.fill(finding, TITLE_LETTERS, break_on_hyphens=False),
        x=0.012,
        ha="left",
        fontsize=10,
        fontweight="bold",
    )
    return made, list(made.subplots(rows, columns, sharex=sharex, squeeze=False).flat)


def colour(family: str) -> str:
    """Colour of a family; one that is not known yet gets olive."""
    return COLOURS.get(family, OTHER_COLOUR)


def markers(variants: Iterable[str]) -> dict[str, str]:
    """A marker for each variant of a family, by its place in the alphabet."""
    return {variant: MARKERS[i % len(MARKERS)] for i, variant in enumerate(sorted(set(variants)))}


def legend(made: Figure, *, ncols: int = 2, **look: Any) -> None:
    """A legend below all axes, each label once."""
    pairs = [axes.get_legend_handles_labels() for axes in made.axes]
    entries = {label: handle for handles, labels in pairs for handle, label in zip(handles, labels, strict=True)}
    look = {"handletextpad": 0.4, "columnspacing": 1.2, **look}
    made.legend(list(entries.values()), list(entries), loc="outside lower left", ncols=ncols, **look)


def dots(
    axes: Axes, rows: pd.DataFrame, column: str, at: np.ndarray, *, colour: str, label: str, marker: str = "o"
) -> None:
    """Values with their intervals beside names, from the columns `<column>`, `<column>_low` and `<column>_high`."""
    if rows.empty:
        return
    axes.hlines(at, rows[f"{column}_low"], rows[f"{column}_high"], color=colour, lw=2)
    axes.plot(rows[column], at, marker, ms=6, mfc=colour, mec=INK, mew=0.6, ls="none", label=label)


def names(axes: Axes, shown: Iterable[str], at: np.ndarray, **look: Any) -> None:
    """A name per line, to the left of the axes, without lines of the grid between them."""
    axes.set_yticks(at, list(shown), **look)
    axes.set_ylim(-0.7, len(at) - 0.3)
    axes.grid(axis="y", visible=False)


def errors(rows: pd.DataFrame, column: str = "top1_pct") -> list[pd.Series]:
    """How far the interval of a column reaches below and above its value, as `errorbar` takes it."""
    low, high = rows[column] - rows[f"{column}_low"], rows[f"{column}_high"] - rows[column]
    return [low.clip(lower=0), high.clip(lower=0)]


def log_axis(axes: Axes, values: pd.Series, label: str) -> None:
    """A logarithmic x axis with plain ticks: 0.5, 1, 2, 5 in place of powers of ten, of which few are in reach."""
    axes.set(xscale="log", xlabel=label, xlim=(values.min() / 1.6, values.max() * 1.6))
    low, high = axes.get_xlim()
    wide, middle, narrow = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)
    digits = wide if high > 20 * low else middle if high > 5 * low else narrow
    steps = [digit * 10.0**power for power in range(-5, 6) for digit in digits]
    axes.set_xticks([step for step in steps if low <= step <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()


def write_names(axes: Axes, shown: Sequence[str], x: Sequence[float], y: Sequence[float]) -> None:
    """Write names near their points, in order of importance, each where it covers neither a point nor another name.

    A name without any such place is left out.
    """
    axes.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    lines = [np.asarray(line.get_data(), float).T for line in axes.lines]
    points, frame = axes.transData.transform(np.concatenate(lines)), axes.get_window_extent().padded(2)
    taken: list[Bbox] = []
    for name, at_x, at_y in zip(shown, x, y, strict=True):
        label = axes.annotate(name, (at_x, at_y), xytext=(0, 0), textcoords="offset points", fontsize=8)
        label.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground=CARD)])
        label.set_in_layout(False)
        for dx, dy, horizontal, vertical in PLACES:
            label.set(position=(dx, dy), ha=horizontal, va=vertical)
            box = label.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken) and not box.count_contains(points):
                taken.append(box)
                break
        else:
            label.remove()
