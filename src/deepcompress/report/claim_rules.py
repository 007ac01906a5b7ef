"""How a claim is judged: by intervals alone, in four words.

A comparison holds where its 95 % interval lies on the claimed side of zero, fails where it lies on the other, and is
not told apart where it holds zero. Two models without a paired test are told apart where their intervals do not
touch. Bytes and MACs are counted and have no interval: a claim about them holds or fails as they stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import speed, text
from deepcompress.report.tables import BASELINE

if TYPE_CHECKING:
    from deepcompress.report.tables import Tables

HOLDS, FAILS, SAME, MISSING = "holds here", "does not hold here", "not told apart here", "not measured here"


@dataclass(frozen=True)
class Claim:
    """One statement of the source report, tested.

    Attributes:
        where: Its section there.
        said: What it says, in our words.
        verdict: HOLDS, FAILS, SAME or MISSING.
        evidence: The measured rows, with intervals and n; empty where nothing was measured.
    """

    where: str
    said: str
    verdict: str = MISSING
    evidence: str = ""


def paired(where: str, said: str, data: Tables, model: str, reference: str, sign: int) -> Claim:
    """Whether a model's paired difference to another one has the claimed sign."""
    row = difference(data, model, reference)
    if row is None:
        return Claim(where, said)
    low, high = sorted(sign * row[f"difference_points_{side}"] for side in ("low", "high"))
    verdict = HOLDS if low > 0 else FAILS if high < 0 else SAME
    evidence = f"{model} against {reference}: {text.difference(row)} points (n = {int(row['n']):,})"
    return Claim(where, said, verdict, evidence)


def apart(where: str, said: str, data: Tables, better: str, worse: str) -> Claim:
    """Whether one model's accuracy lies above another's, intervals apart."""
    return above(where, said, data.models, (better, worse), Measure("top1_pct", " %"))


@dataclass(frozen=True)
class Measure:
    """A column of a table that has neighbours `<column>_low`, `<column>_high` and a column `n`.

    Attributes:
        column: Its name.
        unit: What follows a number, such as ` %`.
        digits: Behind the point.
        images: What n counts, if not held-out images.
    """

    column: str
    unit: str = ""
    digits: int = 1
    images: str = ""


def above(where: str, said: str, rows: pd.DataFrame, models: tuple[str, str], what: Measure) -> Claim:
    """Whether the first of two rows, named in the column `model`, lies above the second, intervals apart."""
    ends = [what.column, f"{what.column}_low", f"{what.column}_high"]
    if rows.empty or not {"model", *ends} <= set(rows.columns):
        return Claim(where, said)
    found = [rows[rows["model"] == model] for model in models]
    if any(some.empty or some[ends].iloc[0].isna().any() for some in found):
        return Claim(where, said)
    one, other = (some.iloc[0] for some in found)
    spelled = [[text.number(float(row[end]), what.digits) for end in ends] for row in (one, other)]
    parts = [
        f"{model}: {at} ({low} to {high}){what.unit}" for model, (at, low, high) in zip(models, spelled, strict=True)
    ]
    n = " and ".join(dict.fromkeys(f"{int(row['n']):,}" for row in (one, other)))
    return Claim(where, said, disjoint(one[ends[1:]], other[ends[1:]]), f"{'; '.join(parts)} (n = {n}{what.images})")


def keeps(data: Tables, where: str, said: str, model: str, reference: str = BASELINE) -> Claim:
    """Whether a model loses no more than is allowed, by its interval."""
    row = difference(data, model, reference)
    if row is None:
        return Claim(where, said)
    limit = f"{text.number(data.max_drop_points)} points may go"
    than = "" if reference == BASELINE else f" against {reference}"
    size = f", {text.times(row['times_smaller'])} smaller" if "times_smaller" in row else ""
    evidence = f"{model}{than}: {text.difference(row)} points{size} ({limit}, n = {int(row['n']):,})"
    return Claim(where, said, kept(row, data.max_drop_points), evidence)


def kept(row: pd.Series, max_drop_points: float) -> str:
    """HOLDS where the whole interval of a difference lies within what may go, FAILS where none of it does."""
    low, high = row["difference_points_low"], row["difference_points_high"]
    return HOLDS if low >= -max_drop_points else FAILS if high < -max_drop_points else SAME


def counted(where: str, said: str, evidence: str, *, holds: bool) -> Claim:
    """A claim about counts such as bytes and MACs, which have no interval."""
    return Claim(where, said, HOLDS if holds else FAILS, evidence)


def row_of(rows: pd.DataFrame, model: str) -> pd.Series | None:
    """A model's row of a table; None where it has none."""
    found = rows[rows["model"] == model] if not rows.empty else rows
    return None if found.empty else found.iloc[0]


def difference(data: Tables, model: str, reference: str) -> pd.Series | None:
    """The row that holds a model's paired difference to another one; None where it was not measured."""
    pairs = data.models if reference == BASELINE else data.pairs[data.pairs["reference"] == reference]
    row = row_of(pairs, model)
    return None if row is None or pd.isna(row["difference_points_low"]) else row


def timed(data: Tables, where: str, said: str, model: str, *, faster: bool, engine: str = speed.FLOAT) -> Claim:
    """Whether a model in ONNX Runtime is faster than the dense float one, as claimed, at every batch size.

    Faster is what lies apart by its quartiles. A gain holds where all sizes show it and fails where one is slower;
    that there is none holds where no size shows one and fails where all do.
    """
    rows = data.extra.get("benchmark/latency", pd.DataFrame(columns=["model", "engine"]))
    some = rows[(rows["model"] == model) & (rows["engine"] == engine)]
    if some.empty or BASELINE not in set(rows["model"]):
        return Claim(where, said)
    apart_at = [(row["speedup"], speed.told_apart(rows, row)) for _, row in some.iterrows()]
    gains = [told and speedup > 1 for speedup, told in apart_at]
    slower = any(told and speedup < 1 for speedup, told in apart_at)
    if faster:
        verdict = HOLDS if all(gains) else FAILS if slower else SAME
    else:
        verdict = HOLDS if not any(gains) else FAILS if all(gains) else SAME
    parts = [f"{text.times(row['speedup'])} at batch {row['batch_size']}" for _, row in some.iterrows()]
    evidence = f"{model} in {speed.ENGINES[engine]}: {', '.join(parts)} (n = {int(some['n'].iloc[0])} calls each)"
    return Claim(where, said, verdict, evidence)


def disjoint(better: pd.Series, worse: pd.Series) -> str:
    """HOLDS where the first interval (low, high) lies above the second."""
    if better.iloc[0] > worse.iloc[1]:
        return HOLDS
    return FAILS if better.iloc[1] < worse.iloc[0] else SAME
