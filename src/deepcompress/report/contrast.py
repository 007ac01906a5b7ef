"""Which colours stand out from both grounds that a figure may have: white paper, and the page's card in the dark.

A figure is drawn once, and its lines keep their colours in both themes unless page.py maps them.

Source: WCAG 2.2, success criterion 1.4.11 and "contrast ratio", https://www.w3.org/TR/WCAG22/
"""

from __future__ import annotations

import numpy as np
from matplotlib import colors

GROUNDS = ("#ffffff", "#1b2129")  # --card of template.html.j2, light and dark
ENOUGH = 3.0  # for marks; words need 4.5
STEPS = 100


def ratio(one: str, other: str) -> float:
    """Contrast of two colours: 1 (equal) to 21 (black on white)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def legible(colour: str) -> str:
    """The colour itself, or the nearest mixture with white or black that has a contrast of ENOUGH on both grounds."""
    towards = "white" if ratio(colour, GROUNDS[1]) < ENOUGH else "black"
    start, end = (np.array(colors.to_rgb(one)) for one in (colour, towards))
    mixtures = (colors.to_hex(start + (end - start) * step / STEPS) for step in range(STEPS + 1))
    return next(one for one in mixtures if all(ratio(one, ground) >= ENOUGH for ground in GROUNDS))


def _luminance(colour: str) -> float:
    part = np.array(colors.to_rgb(colour))
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
