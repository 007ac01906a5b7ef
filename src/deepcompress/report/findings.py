"""What the numbers say, in one sentence each: for titles of figures, sections and the README."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deepcompress.report import tables, text

if TYPE_CHECKING:
    import pandas as pd

    from deepcompress.report.tables import Tables


def of_all(data: Tables) -> str:
    """The smallest model that keeps the accuracy asked for, or the baseline alone, as a title."""
    best = tables.smallest_within(data.compressed, data.max_drop_points)
    base = data.baseline
    n = f"n = {int(base['n']):,}"
    if best is not None:
        return f"{best['model']} is {_smaller(best)} ({n})"
    size = text.number(base["size_mib"], 2)
    if len(data.candidates) == 1:
        return f"The baseline: {text.number(base['top1_pct'])} % top-1 in {size} MiB ({n})"
    return f"No smaller model stays within {_points(data.max_drop_points)} of the baseline ({n})"


def of_models(rows: pd.DataFrame, data: Tables, *, name: str = "name") -> str:
    """What the smallest good model of some brings, or how far the best of them is from good, as a sentence.

    Args:
        rows: Models, such as those of one family.
        data: All tables, for the accuracy that a model may lose.
        name: The column that the sentence calls a model by: `name`, or `model` for the whole id.
    """
    measured = rows.dropna(subset=["difference_points"])
    if measured.empty:
        return "No model was compared with the baseline."
    limit = _points(data.max_drop_points)
    best = tables.smallest_within(measured, data.max_drop_points)
    if best is not None:
        smaller = f"{text.times(best['times_smaller'])} smaller, {change(best)}"
        return f"{best[name]} is the smallest that stays within {limit} of the baseline: {smaller}."
    top = measured.sort_values(["difference_points", "model"]).iloc[-1]
    if top["difference_points"] >= -data.max_drop_points:
        return f"{top[name]} comes out best, {change(top)}; none that stays within {limit} is smaller."
    return f"None stays within {limit} of the baseline; {top[name]} comes closest, {change(top)}."


def of_family(rows: pd.DataFrame, data: Tables) -> str:
    """The same in a few words, as a title."""
    measured = rows.dropna(subset=["difference_points"])
    best = tables.smallest_within(measured, data.max_drop_points)
    if best is not None:
        return f"{best['name']} is {_smaller(best)}"
    top = measured.sort_values(["difference_points", "model"]).iloc[-1]
    return f"{top['name']} comes out best, {text.signed(top['difference_points'])} points"


def change(row: pd.Series) -> str:
    """A difference in words; one whose interval holds zero is not called a gain or a loss."""
    low, high = row["difference_points_low"], row["difference_points_high"]
    points = text.signed(row["difference_points"])
    if math.isnan(low) or math.isnan(high):
        return f"{points} points"
    doubt = ", no significant difference" if low <= 0 <= high else ""
    return f"{points} points (95 % interval {text.signed(low)} to {text.signed(high)}{doubt})"


def of_training(runs: pd.DataFrame) -> str:
    """Where the validation accuracy of the runs of one family ends, as a title."""
    last = runs.sort_values("epoch").groupby("model").tail(1)
    epochs = text.count(int(last["epoch"].max() - runs["epoch"].min()) + 1, "epoch")
    family = last["family"].iloc[0]
    low, high = text.number(last["validation_top1_pct"].min()), text.number(last["validation_top1_pct"].max())
    if len(last) > 1:
        return f"{family}: {len(last)} runs end between {low} and {high} % on validation images"
    return f"{last['model'].iloc[0]}: {high} % on validation images after {epochs}"


def of_classes(rows: pd.DataFrame) -> str:
    """The spread between classes of one model, as a title."""
    ordered = rows.dropna(subset=["top1_pct"]).sort_values(["top1_pct", "class"])
    worst, best = ordered.iloc[0], ordered.iloc[-1]
    return (
        f"{ordered['model'].iloc[0]}: from {text.number(worst['top1_pct'], 0)} % ({worst['class']}) "
        f"to {text.number(best['top1_pct'], 0)} % ({best['class']})"
    )


def _smaller(row: pd.Series) -> str:
    return f"{text.times(row['times_smaller'])} smaller at {text.signed(row['difference_points'])} points"


def _points(value: float) -> str:
    return f"{value:g} point{'' if value == 1 else 's'}"
