"""Strips of attention maps: the images, and below them where each model sees the right class."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
from PIL import Image

from deepcompress.report import charts, queries, text
from deepcompress.report.blocks import Picture
from deepcompress.report.tables import BASELINE, Tables

PREFIX = "uint8:"
# A ramp of heat, dark to light, as red, green and blue at 0, a third, two thirds and 1.
HEAT = np.array([(20, 8, 60), (150, 30, 110), (235, 105, 40), (250, 240, 130)], float)


def strip(data: Tables, rows: pd.DataFrame, name: str, caption: str) -> Picture:
    """The images, and below them the maps of some models, the one that they are compared with first.

    Args:
        data: Of these, the images are read.
        rows: Of the table `strips`, with one `teacher`.
        name: Of the picture.
        caption: With places for {teacher} and {role}.
    """
    images = queries.explained(data, "strip_images").sort_values("image")
    photos = [pixels(row["pixels"], row["side"], row["side"], 3) for _, row in images.iterrows()]
    teacher = str(rows["teacher"].iloc[0])
    # Among students and teachers the family says no more than the heading does.
    names = dict(zip(rows["model"], rows["model" if teacher == BASELINE else "name"], strict=True))
    shown = [("image", place, url(photo), "") for place, photo in enumerate(photos)]
    for model, own in rows.groupby("model", sort=False):
        ordered = own.sort_values("image")
        maps = [pixels(row["map"], row["side"], row["side"]) for _, row in ordered.iterrows()]
        for place, (photo, heat, ssim) in enumerate(zip(photos, maps, ordered["ssim"], strict=True)):
            shown.append((names[model], place, url(overlay(photo, heat)), _note(heat, ssim)))
    alike = rows[rows["model"] != teacher].groupby("model")["ssim"].mean().dropna()
    most = "no model can be compared with" if alike.empty else f"{names[alike.idxmax()]} looks most like"
    title = f"On these {len(photos)} images {most} {'the ' * (teacher == BASELINE)}{names[teacher]}"
    chart = charts.strip(pd.DataFrame(shown, columns=["name", "image", "url", "note"]))
    return Picture(name, title, (chart,), caption.format(teacher=names[teacher], role=rows["role"].iloc[0]))


def overlay(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A map over the picture in grey: 0..255, (side, side, 3); the hotter, the more of it."""
    share = heat.astype(float)[..., None] / 255
    ends = np.linspace(0, 1, len(HEAT))
    hot = np.concatenate([np.interp(share, ends, HEAT[:, channel]) for channel in range(3)], axis=2)
    grey, weight = photo.mean(2, keepdims=True), 0.25 + 0.5 * share
    return ((1 - weight) * grey + weight * hot).round().astype(np.uint8)


def url(picture: np.ndarray) -> str:
    """A picture of (side, side, 3) as a PNG within a link."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def pixels(written: str, *shape: int) -> np.ndarray:
    """Bytes that were written as text, in their shape.

    Raises:
        ValueError: If they are not there, or too many or too few.
    """
    if not written.startswith(PREFIX):
        raise ValueError(f"pixels must start with {PREFIX!r}, got {written[:10]!r}")
    return np.frombuffer(base64.b64decode(written.removeprefix(PREFIX)), np.uint8).reshape(shape)


def _note(heat: np.ndarray, ssim: float) -> str:
    """What stands below a map."""
    if not heat.any():
        return "empty map"
    return "" if np.isnan(ssim) else text.number(ssim, 2)
