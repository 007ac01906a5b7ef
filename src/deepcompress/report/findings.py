"""What the numbers say, in one sentence each: for titles of figures, sections and the README."""

from __future__ import annotations

import math

import pandas as pd

from deepcompress.measure import verdict
from deepcompress.report import tables, text
from deepcompress.report.tables import Tables


def of_all(data: Tables) -> str:
    """The smallest model that keeps the accuracy asked for, or the baseline alone, as a title."""
    best, base = tables.selected(data, data.candidates), data.baseline
    n = f"n = {int(base['n']):,}"
    if best is not None:
        points = f"{text.signed(best['difference_points'])} points to the baseline"
        return f"{best['model']} is {text.times(best['times_smaller'])} smaller at {points} ({n})"
    size = text.number(base["size_mib"], 2)
    if len(data.candidates) == 1:
        return f"The baseline: {text.number(base['top1_pct'])} % top-1 in {size} MiB ({n})"
    return f"No smaller model stays within {_points(data.max_drop_points)} of the baseline ({n})"


def of_models(rows: pd.DataFrame, data: Tables, *, name: str = "name") -> str:
    """What the smallest good model of some brings, or how far the best of them is from good, as a sentence.

    Which one is good or best is chosen on validation images; what is said of it was measured on held-out ones.

    Args:
        rows: Models, such as those of one family.
        data: All tables, for the accuracy that a model may lose.
        name: The column that the sentence calls a model by: `name`, or `model` for the whole id.
    """
    compared = rows.dropna(subset=["difference_points"])
    if compared.empty:
        return "No model was compared with the baseline."
    limit, top = f"at most {_points(data.max_drop_points)}", tables.best_chosen(data, compared)
    if top is None:
        return f"None of these models was measured on validation images, so none is chosen to lose {limit}."
    best = tables.selected(data, compared)
    if best is not None:
        smaller = f"{text.times(best['times_smaller'])} smaller; on held-out images {change(best)}"
        return f"{best[name]} is the smallest that loses {limit} on validation images: {smaller}."
    fits = data.choice.loc[data.choice["model"] == top["model"], "drop_points"].iloc[0] <= data.max_drop_points
    none = f"None {'that ' if fits else ''}loses {limit} on validation images{' is smaller' if fits else ''}"
    return f"{none}; {top[name]} is best there; on held-out images {change(top)}."


def change(row: pd.Series) -> str:
    """What a model is to the baseline and, where it has one, to its equally long control: what and against what."""
    found = f"{_change(row, 'difference')} to the baseline"
    if isinstance(row.get("compared_with"), str) and not math.isnan(row["control_points"]):
        found += f", {_change(row, 'control')} to {row['compared_with']}, trained as long"
    return found


def _change(row: pd.Series, column: str) -> str:
    """A difference with its interval and verdict; what was not tested is called neither a gain nor a loss."""
    points, low, high = (row[f"{column}_points{end}"] for end in ("", "_low", "_high"))
    spelled, words = f"{text.signed(points)} points", row.get(text.VERDICT[column])
    if math.isnan(low) or math.isnan(high):
        return spelled + (f" ({words})" if words == verdict.NOT_TESTED else "")
    doubt = "" if words in (verdict.GAIN, verdict.LOSS) else f", {words}"
    over = " over seeds" if math.isfinite(row[text.FREEDOM[column]]) else ""
    return f"{spelled} (95 % interval{over} {text.signed(low)} to {text.signed(high)}{doubt})"


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


def _points(value: float) -> str:
    return f"{value:g} point{'' if value == 1 else 's'}"
