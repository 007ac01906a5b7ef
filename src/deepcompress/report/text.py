"""How the report writes numbers: rounded, with units, intervals and a true minus; a missing one is a dash."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pandas as pd

from deepcompress.measure import verdict

MISSING = "–"
UNCONFIRMED = "n.s."  # behind an interval that leaves out zero
NS = (
    f"n.s.: not significant beyond {verdict.MARGIN:g} point after Holm's correction for all comparisons of the family "
    "that the model is of."
)
FREEDOM = {"difference": "freedom", "control": "control_freedom"}  # finite where seeds vary as well as images
VERDICT = {"difference": "verdict", "control": "control_verdict"}  # start of the columns of a difference -> its words


def number(value: float, digits: int = 1) -> str:
    """Rounded, thousands apart: 12,345.6."""
    return MISSING if math.isnan(value) else f"{_no_negative_zero(value, digits):,.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 1) -> str:
    """Rounded with its sign: +0.3, −1.2; zero has none."""
    if math.isnan(value):
        return MISSING
    rounded = _no_negative_zero(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{rounded:.{digits}f}"


def probability(value: float) -> str:
    """A p-value; below a thousandth the exact value says nothing more."""
    return MISSING if math.isnan(value) else "< 0.001" if value < 1e-3 else f"{value:.3f}"


def short(value: float) -> str:
    """A count in thousands, millions or billions: 1.23 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return number(value, 0)


def percent(part: float, whole: float) -> str:
    """A share in whole percent, without the sign: 78."""
    return number(100 * part / whole, 0)


def times(value: float) -> str:
    """A ratio: 3.9×."""
    return MISSING if math.isnan(value) else f"{number(value, 1 if value < 100 else 0)}×"


def interval(row: pd.Series, column: str, digits: int = 1, write: Callable[[float, int], str] = number) -> str:
    """A value with its interval, from `<column>_low` and `<column>_high`: 61.2 (60.3 to 62.1).

    Args:
        row: Of a table.
        column: Name of the value.
        digits: Behind the point.
        write: `number`, or `signed` for differences.
    """
    if pd.isna(row.get(column)):
        return MISSING
    value, low, high = (write(float(row[f"{column}{end}"]), digits) for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def accuracy(row: pd.Series) -> str:
    """Top-1 with its interval: 61.2 (60.3 to 62.1)."""
    return interval(row, "top1_pct")


def difference(row: pd.Series, column: str = "difference", *, phrase: bool = False) -> str:
    """Points with their interval, −0.4 (−1.1 to +0.3), or with why there is none: −0.4 (one training each).

    Where the interval leaves out zero but there is no verdict, `n.s.` stands behind it, or the whole of its `phrase`,
    for prose: what does not say so looks like a finding.
    """
    points, low, high = (row[f"{column}_points{end}"] for end in ("", "_low", "_high"))
    if row["model"] == "baseline" or math.isnan(points):
        return MISSING
    words = str(row.get(VERDICT[column]))
    if math.isnan(low) or math.isnan(high):
        return f"{signed(points)} (one training each)" if words == verdict.NOT_TESTED else signed(points)
    doubt = f", {words if phrase else UNCONFIRMED}" if words.startswith(verdict.UNCONFIRMED) else ""
    return f"{signed(points)} ({signed(low)} to {signed(high)}{doubt})"


def ns(cells: Iterable[str]) -> str:
    """NS behind a space where one of these texts needs it, else nothing."""
    return f" {NS}" if any(UNCONFIRMED in cell for cell in cells) else ""


def count(n: int, noun: str) -> str:
    """`1 model`, `2 models`, `2 classes`."""
    return f"{n:,} {noun}{'' if n == 1 else 'es' if noun.endswith('s') else 's'}"


def _no_negative_zero(value: float, digits: int) -> float:
    return round(float(value), digits) + 0.0  # NumPy's floats round halves to even, Python's by their exact value
