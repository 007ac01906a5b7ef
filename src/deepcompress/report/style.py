"""What all figures share: colours of families, markers of variants, sizes, an empty figure with its finding.

Colour = family, marker = variant, grey = baseline. The colours are Okabe and Ito's, told apart with any
colour vision, but for their yellow, which vanishes on white; their orange is darker here and their vermilion
redder, so that both stand out 3 : 1 from light and from dark ground. The colours with a name of their own are
exact values that the page replaces by its theme's, so that one drawing reads well on both.

Source: Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
            freeze(made)
            return made

    return inside


def freeze(made: Figure) -> None:
    """Lay a figure out as it stands, and never again; one that is frozen already stays as it is."""
    engine = made.get_layout_engine()
    if engine is not None:
        engine.execute(made)
        made.set_layout_engine(None)  # with "none" every writing would draw twice, as if there were a layout to find


def figure(finding: str, *, height: float = 3.6, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure, narrow enough to be read on a phone, with its finding as a title and `rows` axes."""
    made = _titled(finding, height)
    return made, list(made.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])


def grid(finding: str, rows: int, columns: int, *, height: float) -> tuple[Figure, list[Axes]]:
    """As `figure`, with axes in rows and columns that share nothing, row by row."""
    made = _titled(finding, height)
    return made, list(made.subplots(rows, columns, squeeze=False).flat)


def colour(family: str) -> str:
    """Colour of a family; one that is not known yet gets olive."""
    return COLOURS.get(family, OTHER_COLOUR)


def markers(variants: Iterable[str]) -> dict[str, str]:
    """A marker for each variant of a family, by its place in the alphabet."""
    return {variant: MARKERS[i % len(MARKERS)] for i, variant in enumerate(sorted(set(variants)))}


def _titled(finding: str, height: float) -> Figure:
    made = Figure(figsize=(WIDTH_INCHES, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    made.suptitle(textwrap.fill(finding, TITLE_LETTERS), x=0.012, ha="left", fontsize=10, fontweight="bold")
    return made
