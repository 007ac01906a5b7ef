"""What claims are judged by: measured values with intervals, chosen by the plan's columns, and their differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from deepcompress.measure.statistics import wilson_interval
from deepcompress.report import text
from deepcompress.report.tables import BASELINE

if TYPE_CHECKING:
    from deepcompress.report.tables import Tables

AGREES, CONTRADICTS, SAME, UNTESTED = "agrees", "contradicts", "no significant difference", "not tested"
IN_PART, INCOMPARABLE = "agrees in part", "not comparable data"
Row = Mapping[str, Any]  # of claims.yaml
WITHIN_95 = 1.96  # standard errors
TOP1 = "top1"
ENDS = ("", "_low", "_high")
INTERVAL = ["difference_points_low", "difference_points_high"]


@dataclass(frozen=True)
class Estimate:
    """A measured value with the ends of its 95 % interval (NaN: none) and n.

    Attributes:
        name: Whose: a model's id, or a layer.
        paired: For a difference, whether it is of the same images, taken one by one.
    """

    name: str
    value: float
    low: float
    high: float
    n: int = 0
    paired: bool = False

    def spelled(self, measure: Row) -> str:
        """`pruned/structured-0.25: 96.6 (95.7 to 97.3) %`."""
        return f"{self.name}: {self.ends(measure.get('digits', 1))}{measure.get('unit', ' points')}"

    def ends(self, digits: int = 1, *, signed: bool = False) -> str:
        """`96.6 (95.7 to 97.3)`."""
        spell = text.signed if signed else text.number
        at, low, high = (spell(end, digits) for end in (self.value, self.low, self.high))
        return at if math.isnan(self.low) else f"{at} ({low} to {high})"

    @property
    def points(self) -> str:
        """Of a difference: `−0.4 (−1.1 to +0.3) points`, with `, paired` where it is."""
        return f"{self.ends(signed=True)} points{', paired' if self.paired else ''}"


@cache
def content() -> dict[str, Any]:
    """What claims.yaml holds."""
    return yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))


def measure_of(row: Row) -> Row:
    """The measure that a row compares by; accuracy where it names none."""
    return content()["measures"][row.get("measure", TOP1)]


def chosen(data: Tables, models: str | Row) -> pd.DataFrame:
    """The rows of the evaluation that a query asks for: a name in claims.yaml, or column -> value or values."""
    rows, query = data.models, content()["models"][models] if isinstance(models, str) else models
    for column, wanted in query.items():
        rows = rows[rows[column].isin(wanted if isinstance(wanted, list) else [wanted])]
    return rows


def measured(data: Tables, row: Row, side: str | Row | Sequence[str]) -> list[Estimate]:
    """All that one side of a row names, by the row's measure; empty where nothing was measured."""
    measure = measure_of(row)
    if measure["table"] == "pairs":
        pair = [model for name in side for model in chosen(data, name)["model"]]
        gain = paired(data, *pair) if len(pair) == len(side) else None
        return [] if gain is None else [gain]
    table = data.models if measure["table"] == "models" else data.extra.get(measure["table"], pd.DataFrame())
    for column, value in row.get("where", {}).items():
        table = table[table[column] == value] if column in table else table.head(0)
    if table.empty:
        return []
    if "role" in table:
        table = table[table["role"] == table["role"].iloc[0]]  # maps of the finest layer come first
    table = _with_ends(table, measure["column"])
    if "layers" in side:
        table = _of_layers(table, side["layers"])  # type: ignore[call-overload]
    else:
        table = table[table["model"].isin(chosen(data, side)["model"])]  # type: ignore[arg-type]
    names, n = table["model"].astype(str), table["n"].astype(int)
    values = [table[measure["column"] + end].astype(float) for end in ENDS]
    return [Estimate(*cells) for cells in zip(names, *values, n, strict=True) if not math.isnan(cells[1])]


def _with_ends(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with the ends of intervals that it does not hold: from standard errors, or from counts of images."""
    low, high, error = f"{column}_low", f"{column}_high", column.replace("_pct", "_se_pct")
    if low in table:
        return table
    if not column.endswith("_pct"):
        return table.assign(**{low: math.nan, high: math.nan})
    if error in table:
        half = WITHIN_95 * table[error]
        return table.assign(**{low: table[column] - half, high: table[column] + half})
    counts = zip((table[column] * table["n"] / 100).round().astype(int), table["n"], strict=True)
    ends = [wilson_interval(int(right), int(n)) for right, n in counts]
    return table.assign(**{low: [100 * end[0] for end in ends], high: [100 * end[1] for end in ends]})


def _of_layers(table: pd.DataFrame, which: str) -> pd.DataFrame:
    """Rows of a scan of layers, called `model`: the mean of a kind, or the first or last convolution.

    The error of a mean is at most the mean of the errors, since all layers saw the same images.
    """
    convolution = table["layer"].str.startswith("features")
    if which in ("first convolution", "last convolution"):
        some = table[convolution]
        return (some.head(1) if which == "first convolution" else some.tail(1)).assign(model=lambda rows: rows["layer"])
    some = table[convolution == (which == "convolutions")]
    mean = some.mean(numeric_only=True).to_frame().T.assign(model=which)
    return mean.head(0) if some.empty else mean


def paired(data: Tables, model: str, reference: str) -> Estimate | None:
    """The difference of two models [points] as `evaluate` took it image by image, in either direction; None if not."""
    for first, second, sign in ((model, reference, 1), (reference, model, -1)):
        rows = data.models if second == BASELINE else data.pairs[data.pairs["reference"] == second]
        rows = rows[rows["model"] == first].dropna(subset=INTERVAL)
        if len(rows):
            row = rows.iloc[0]
            low, high = sorted(sign * float(row[end]) for end in INTERVAL)
            name, value = f"{model} over {reference}", sign * float(row["difference_points"])
            return Estimate(name, value, low, high, int(row["n"]), paired=True)
    return None


def combined(parts: Sequence[Estimate], factors: Sequence[float]) -> Estimate:
    """A weighted sum of independent estimates; each interval's ends may lie at their own distance.

    Source: Newcombe, Statistics in Medicine 17 (1998), 873, method 10, for a difference; Zou and Donner, Statistics in
    Medicine 27 (2008), 1693, for sums.
    """
    value, below, above = 0.0, 0.0, 0.0
    for part, factor in zip(parts, factors, strict=True):
        reach = sorted((factor * (part.low - part.value), factor * (part.high - part.value)))
        value, below, above = value + factor * part.value, math.hypot(below, reach[0]), math.hypot(above, reach[1])
    return Estimate("", value, value - below, value + above, parts[0].n)


def difference(data: Tables, row: Row, first: Estimate, second: Estimate) -> Estimate:
    """First less second: of accuracies image by image where `evaluate` compared the two, else from both intervals."""
    same_images = paired(data, first.name, second.name) if row.get("measure", TOP1) == TOP1 else None
    return same_images or combined((first, second), (1, -1))
