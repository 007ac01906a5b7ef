"""How a claim is judged: by intervals alone, in four words.

A comparison holds where its 95 % interval lies on the claimed side of zero, fails where it lies on the other, and is
not told apart where it holds zero. Two models without a paired test are told apart where their intervals do not
touch.
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


def _row(data: Tables, model: str) -> pd.Series | None:
    found = data.models[data.models["model"] == model]
    return None if found.empty else found.iloc[0]


def paired(where: str, said: str, data: Tables, model: str, reference: str, sign: int) -> Claim:
    """Whether a model's paired difference to another one has the claimed sign."""
    if reference == BASELINE:
        row = _row(data, model)
    else:
        found = data.pairs[(data.pairs["model"] == model) & (data.pairs["reference"] == reference)]
        row = None if found.empty else found.iloc[0]
    if row is None or pd.isna(row["difference_points_low"]):
        return Claim(where, said)
    low, high = sorted(sign * row[f"difference_points_{side}"] for side in ("low", "high"))
    verdict = HOLDS if low > 0 else FAILS if high < 0 else SAME
    evidence = f"{model} against {reference}: {text.difference(row)} points (n = {int(row['n']):,})"
    return Claim(where, said, verdict, evidence)


def apart(where: str, said: str, data: Tables, better: str, worse: str) -> Claim:
    """Whether one model's accuracy lies above another's, intervals apart."""
    one, other = _row(data, better), _row(data, worse)
    if one is None or other is None:
        return Claim(where, said)
    columns = ["top1_pct_low", "top1_pct_high"]
    evidence = f"{better}: {text.accuracy(one)} %; {worse}: {text.accuracy(other)} % (n = {int(one['n']):,})"
    return Claim(where, said, disjoint(one[columns], other[columns]), evidence)


def keeps(data: Tables, where: str, said: str, model: str) -> Claim:
    """Whether a model loses no more than is allowed, by its interval."""
    row = _row(data, model)
    if row is None or pd.isna(row["difference_points_low"]):
        return Claim(where, said)
    least = -data.max_drop_points
    low, high = row["difference_points_low"], row["difference_points_high"]
    verdict = HOLDS if low >= least else FAILS if high < least else SAME
    limit = f"{text.number(data.max_drop_points)} points may go"
    size = f"{text.times(row['times_smaller'])} smaller"
    return Claim(
        where, said, verdict, f"{model}: {text.difference(row)} points, {size} ({limit}, n = {int(row['n']):,})"
    )


def timed(data: Tables, where: str, said: str, model: str, *, faster: bool) -> Claim:
    """Whether a model in ONNX Runtime is told apart from the dense one, as claimed, at every batch size."""
    rows = data.extra.get("benchmark/latency", pd.DataFrame(columns=["model", "engine"]))
    some = rows[(rows["model"] == model) & (rows["engine"] == speed.FLOAT)]
    if some.empty or BASELINE not in set(rows["model"]):
        return Claim(where, said)
    gains = [row["speedup"] > 1 and speed.told_apart(rows, row) for _, row in some.iterrows()]
    parts = [f"{text.times(row['speedup'])} at batch {row['batch_size']}" for _, row in some.iterrows()]
    agreed = all(gains) if faster else not any(gains)
    mixed = any(gains) and not all(gains)
    evidence = f"{model} in ONNX Runtime: {', '.join(parts)} (n = {int(some['n'].iloc[0])} calls each)"
    return Claim(where, said, HOLDS if agreed else SAME if mixed else FAILS, evidence)


def disjoint(better: pd.Series, worse: pd.Series) -> str:
    """HOLDS where the first interval (low, high) lies above the second."""
    if better.iloc[0] > worse.iloc[1]:
        return HOLDS
    return FAILS if better.iloc[1] < worse.iloc[0] else SAME
