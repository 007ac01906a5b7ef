"""Grad-CAM strips, as the explain stage left them in its tables: pixels decoded and laid out."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np

from deepcompress.report import student_figures, students, tables, text
from deepcompress.report.blocks import Block, Picture

if TYPE_CHECKING:
    import pandas as pd

    from deepcompress.report.tables import Tables

PREFIX = "uint8:"
CAPTION = (
    "Counterpart of Figure 14 of the source report: where {teacher} and its students see the right class "
    "({role}), on the same validation images; below each map its SSIM to the teacher's."
)


def pictures(data: Tables) -> list[Block]:
    """A strip per teacher; none while the explain stage did not run."""
    images, maps = students.explained(data, "strip_images"), students.explained(data, "strips")
    if images.empty or maps.empty:
        return []
    taught = maps[maps["teacher"] != tables.BASELINE]
    return [
        strip(data, own, f"students_strip_{str(teacher).partition('/')[2]}", CAPTION)
        for teacher, own in taught.groupby("teacher", sort=False)
    ]


def strip(data: Tables, rows: pd.DataFrame, name: str, caption: str) -> Picture:
    """The images, and below them the maps of some models, the one that they are compared with first.

    Args:
        data: Of these, the images are read.
        rows: Of the table `strips`, with one `teacher`.
        name: Of the picture.
        caption: With places for {teacher} and {role}.
    """
    images = students.explained(data, "strip_images").sort_values("image")
    photos = [pixels(row["pixels"], row["side"], row["side"], 3) for _, row in images.iterrows()]
    teacher, drawn, notes = str(rows["teacher"].iloc[0]), {}, {}
    for model, own in rows.groupby("model", sort=False):
        label, ordered = _name(str(model), teacher), own.sort_values("image")
        drawn[label] = [pixels(row["map"], row["side"], row["side"]) for _, row in ordered.iterrows()]
        notes[label] = [_note(*both) for both in zip(drawn[label], ordered["ssim"], strict=True)]
    other, alike = _name(teacher, teacher), rows[rows["model"] != teacher].groupby("model")["ssim"].mean().dropna()
    most = "no model can be compared with" if alike.empty else f"{_name(str(alike.idxmax()), teacher)} looks most like"
    finding = f"On these {len(photos)} images {most} {'the ' * (teacher == tables.BASELINE)}{other}"
    figure = student_figures.strips(photos, drawn, notes, finding)
    return Picture(name, figure, caption.format(teacher=other, role=rows["role"].iloc[0]))


def _name(model: str, reference: str) -> str:
    """Without the family among students and teachers alone, where it says no more than the heading does."""
    return model if reference == tables.BASELINE else model.partition("/")[2]


def _note(seen: np.ndarray, ssim: float) -> str:
    """What stands below a map."""
    if not seen.any():
        return "empty map"
    return "" if np.isnan(ssim) else f"SSIM {text.number(ssim, 2)}"


def pixels(written: str, *shape: int) -> np.ndarray:
    """Bytes that were written as text, in their shape.

    Raises:
        ValueError: If they are not there, or too many or too few.
    """
    if not written.startswith(PREFIX):
        raise ValueError(f"pixels must start with {PREFIX!r}, got {written[:10]!r}")
    return np.frombuffer(base64.b64decode(written.removeprefix(PREFIX)), np.uint8).reshape(shape)
