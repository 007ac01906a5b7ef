"""Names beside the points of a scatter plot, each where it covers neither a point nor another name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import patheffects

from deepcompress.report import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

# Where a name may stand: offset from its point in typographic points, and the side it is aligned to.
PLACES = (
    (6, 0, "left", "center"),
    (-6, 0, "right", "center"),
    (0, 6, "center", "bottom"),
    (0, -6, "center", "top"),
    (6, 7, "left", "bottom"),
    (-6, 7, "right", "bottom"),
    (6, -7, "left", "top"),
    (-6, -7, "right", "top"),
    (0, 17, "center", "bottom"),
    (0, -17, "center", "top"),
)


def write(axes: Axes, names: Sequence[str], x: Sequence[float], y: Sequence[float]) -> None:
    """Write each name near its point, in order of importance; one without any free place is left out."""
    axes.get_figure(root=True).draw_without_rendering()  # type: ignore[union-attr]
    points = axes.transData.transform(np.column_stack([_drawn(axes, "x"), _drawn(axes, "y")]))
    taken: list[Bbox] = []
    for name, at_x, at_y in zip(names, x, y, strict=True):
        label = axes.annotate(name, (at_x, at_y), xytext=(0, 0), textcoords="offset points", fontsize=8)
        label.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground=style.CARD)])
        label.set_in_layout(False)
        box = _place(axes, label, points, taken)
        if box is None:
            label.remove()
        else:
            taken.append(box)


def _place(axes: Axes, label: Annotation, points: Float[np.ndarray, "points 2"], taken: list[Bbox]) -> Bbox | None:
    frame = axes.get_window_extent().padded(2)
    for dx, dy, horizontal, vertical in PLACES:
        label.set(position=(dx, dy), ha=horizontal, va=vertical)
        box = label.get_window_extent()
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        if inside and not any(box.overlaps(other) for other in taken) and not box.count_contains(points):
            return box
    return None


def _drawn(axes: Axes, which: str) -> Float[np.ndarray, " points"]:
    """Coordinates of all markers in the plot."""
    return np.concatenate([np.asarray(getattr(line, f"get_{which}data")(), float) for line in axes.lines])
