"""Images and maps for the report to draw, as tables: pixels as base64 text, because the report reads tables alone."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcompress.explain import similarity
from deepcompress.measure.statistics import significant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int, UInt8

    from deepcompress.explain.attention import Attention
    from deepcompress.explain.models import Pair

    Row = dict[str, Any]

MAX_SIDE = 64  # px; more is not seen at the size of a report's pictures
BYTES = "uint8:"  # in front of base64, so that no table reader takes it for a number


def images(pixels: UInt8[np.ndarray, "images side side 3"], labels: Sequence[str]) -> list[Row]:
    """A row per image: `image` (its number), `class`, `side` [px] and `pixels`."""
    shrunk = [_shrink(one) for one in pixels]
    return [
        {"image": number, "class": label, "side": len(one), "pixels": encoded(one)}
        for number, (one, label) in enumerate(zip(shrunk, labels, strict=True))
    ]


def maps(seen: Attention, pairs: Sequence[Pair], shown: Int[np.ndarray, " shown"], *, window: int) -> list[Row]:
    """A row per pair and image shown: `map` of the model, `ssim` to the reference's; before them, the reference's own.

    The column `teacher` names the reference, be it a teacher or the baseline.
    `image` counts what is shown, as in `images`; `map` holds 0 to 255.
    """
    rows = []
    for teacher in dict.fromkeys(pair.reference for pair in pairs):
        own = seen.maps[teacher][shown]
        for model in (teacher, *(pair.model for pair in pairs if pair.reference == teacher)):
            drawn = seen.maps[model][shown]
            alike = similarity.ssim(drawn, own, window=window)
            rows += [
                {
                    "model": model,
                    "teacher": teacher,
                    "role": seen.role,
                    "image": number,
                    "ssim": None if model == teacher else significant(float(alike[number])),
                    "side": len(_shrink(one)),
                    "map": encoded((255 * _shrink(one) + 0.5).astype(np.uint8)),
                }
                for number, one in enumerate(drawn)
            ]
    return rows


def encoded(values: UInt8[np.ndarray, " ..."]) -> str:
    """Bytes in row order, as text."""
    return BYTES + base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _shrink(picture: np.ndarray) -> np.ndarray:
    """Every n-th pixel, so that the side is at most MAX_SIDE."""
    step = -(-len(picture) // MAX_SIDE)
    return picture[::step, ::step]
