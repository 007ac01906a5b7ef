"""Grad-CAM strips, as the explain stage left them in its tables: pixels decoded and laid out."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.report import student_figures, students, text
from deepcompress.report.blocks import Block, Picture

if TYPE_CHECKING:
    import pandas as pd

    from deepcompress.report.tables import Tables

PREFIX = "uint8:"
CAPTION = (
    "Counterpart of figure 14: where {teacher} and its students see the right class ({role}), on the same "
    "validation images; below each map its SSIM to the teacher's."
)


def pictures(data: Tables) -> list[Block]:
    """A strip per teacher; none while the explain stage did not run."""
    images, maps = students.explained(data, "strip_images"), students.explained(data, "strips")
    if images.empty or maps.empty:
        return []
    photos = [pixels(row["pixels"], row["side"], row["side"], 3) for _, row in images.sort_values("image").iterrows()]
    return [_strip(photos, own, str(teacher)) for teacher, own in maps.groupby("teacher", sort=False)]


def pixels(written: str, *shape: int) -> np.ndarray:
    """Bytes that were written as text, in their shape.

    Raises:
        ValueError: If they are not there, or too many or too few.
    """
    if not written.startswith(PREFIX):
        raise ValueError(f"pixels must start with {PREFIX!r}, got {written[:10]!r}")
    return np.frombuffer(base64.b64decode(written.removeprefix(PREFIX)), np.uint8).reshape(shape)


def _strip(photos: list[np.ndarray], rows: pd.DataFrame, teacher: str) -> Picture:
    drawn, notes = {}, {}
    for model, own in rows.groupby("model", sort=False):
        name, ordered = str(model).partition("/")[2], own.sort_values("image")
        drawn[name] = [pixels(row["map"], row["side"], row["side"]) for _, row in ordered.iterrows()]
        notes[name] = ["" if np.isnan(value) else f"SSIM {text.number(value, 2)}" for value in ordered["ssim"]]
    learners = rows[rows["model"] != teacher].groupby("model")["ssim"].mean()
    name = teacher.partition("/")[2]
    finding = f"On these {len(photos)} images {str(learners.idxmax()).partition('/')[2]} looks most like {name}"
    figure = student_figures.strips(photos, drawn, notes, finding)
    return Picture(f"students_strip_{name}", figure, CAPTION.format(teacher=name, role=rows["role"].iloc[0]))
