"""The README's block of results: one measured sentence, the picture, a short table; never typed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.errors import UserError
from deepcompress.report import findings, tables, text

if TYPE_CHECKING:
    from pathlib import Path

    from deepcompress.report.tables import Tables

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
PICTURE = "plots/figures/accuracy_size.png"
MOST_ROWS = 6


def render(data: Tables) -> str:
    """What stands between the markers, from tables that are in git alone."""
    source = data.params.get("data", {}).get("source", "unknown")
    classes = text.count(data.per_class["class"].nunique(), "class")
    where = f"{classes} of `{source}`, {int(data.baseline['n']):,} held-out images"
    picture = f"![{findings.of_all(data)}]({PICTURE})"
    return "\n\n".join((f"**{_sentence(data)}** ({where})", picture, _table(_short(data)))) + "\n"


def updated(path: Path, data: Tables) -> str:
    """The text of the README at `path` with today's results.

    Raises:
        UserError: If there is no such file, or its markers are missing.
    """
    try:
        return replace_block(path.read_text(encoding="utf-8"), render(data), name=str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None


def replace_block(document: str, block: str, *, name: str = "README.md") -> str:
    """A document with `block` between its markers; `name` is what an error calls it.

    Raises:
        UserError: Unless each marker is there once, in order.
    """
    begin, end = document.find(BEGIN), document.find(END)
    if document.count(BEGIN) != 1 or document.count(END) != 1 or end < begin:
        raise UserError(f"{name}: needs the lines {BEGIN} and {END}, once each and in this order")
    return f"{document[: begin + len(BEGIN)]}\n{block}{document[end:]}"


def _sentence(data: Tables) -> str:
    base = data.baseline
    start = f"The baseline reaches {text.accuracy(base)} % top-1 in {text.number(base['size_mib'], 2)} MiB"
    if len(data.candidates) == 1:
        return f"{start}."
    return f"{start}. {findings.of_models(data.compressed, data, name='model')}"


def _short(data: Tables) -> pd.DataFrame:
    """The baseline and, from the Pareto front, models smaller than it: the most accurate ones and the sentence's."""
    front = tables.pareto(data.compressed)
    front = front[front["times_smaller"] > 1]
    best = front.sort_values("top1_pct", ascending=False)
    named = tables.smallest_within(front, data.max_drop_points)
    if named is not None:
        first = best["model"] == named["model"]
        best = pd.concat([best[first], best[~first]])
    shown = best.head(MOST_ROWS - 1).sort_values("top1_pct", ascending=False)
    return pd.concat([data.candidates[data.candidates["model"] == tables.BASELINE], shown])


def _table(rows: pd.DataFrame) -> str:
    lines = [
        "| Model | Top-1 % (95 % interval) | Points to baseline | Size, MiB | Smaller |",
        "|---|--:|--:|--:|--:|",
    ]
    for _, row in rows.iterrows():
        size, times = text.number(row["size_mib"], 2), text.times(row["times_smaller"])
        lines.append(f"| `{row['model']}` | {text.accuracy(row)} | {text.difference(row)} | {size} | {times} |")
    return "\n".join(lines)
