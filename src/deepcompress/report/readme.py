"""The README's block of results: one measured sentence, the picture, a short table; never typed by hand."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pandas as pd

from deepcompress.errors import UserError
from deepcompress.report import findings, tables, text
from deepcompress.report.tables import Tables

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
PICTURE = "plots/figures/accuracy_size.png"
MOST_ROWS = 6
MOST_COLUMNS = 120  # of a line of prose


def render(data: Tables) -> str:
    """What stands between the markers, from tables that are in git alone."""
    source = data.params.get("data", {}).get("source", "unknown")
    classes = text.count(data.per_class["class"].nunique(), "class")
    where = f"{classes} of `{source}`, {int(data.baseline['n']):,} held-out images"
    picture = f"![{findings.of_all(data)}]({PICTURE})"
    parts = (_wrapped(f"**{_sentence(data)}** ({where})"), picture, _table(_short(data)), _wrapped(_note(data)))
    return "\n\n".join(part for part in parts if part) + "\n"


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


def _wrapped(paragraph: str) -> str:
    return textwrap.fill(paragraph, MOST_COLUMNS, break_long_words=False, break_on_hyphens=False)


def _note(data: Tables) -> str:
    """What the table's rows were chosen on, and what its differences rest on."""
    if len(data.candidates) == 1:
        return ""
    chosen = (
        "Rows are chosen on validation images, numbers are of held-out ones; a control was trained as long without the "
        "technique."
    )
    if data.replicates:
        trained = f"Differences between trainings are means of {len(data.replicates.seeds)} seeds."
    else:
        trained = "Where a training stands between two models, one of each says nothing of chance: no interval."
    return f"{chosen} {trained}{text.ns([_table(_short(data))])}"


def _sentence(data: Tables) -> str:
    base = data.baseline
    start = f"The baseline reaches {text.accuracy(base)} % top-1 in {text.number(base['size_mib'], 2)} MiB"
    if len(data.candidates) == 1:
        return f"{start}."
    return f"{start}. {findings.of_models(data.candidates, data, name='model')}"


def _short(data: Tables) -> pd.DataFrame:
    """The baseline and smaller models that none beats on validation images: the sentence's, the most accurate ones."""
    front = data.choice[data.choice["on_front"].astype(bool)].sort_values("validation_top1_pct", ascending=False)
    models = data.candidates.set_index("model", drop=False)
    best = models.loc[[model for model in front["model"] if model in models.index]]
    best = best[best["times_smaller"] > 1]
    if (named := tables.selected(data, data.candidates)) is not None:
        best = pd.concat([models.loc[[named["model"]]], best[best["model"] != named["model"]]])
    shown = best.head(MOST_ROWS - 1).sort_values("top1_pct", ascending=False)
    return pd.concat([models.loc[[tables.BASELINE]], shown])


def _table(rows: pd.DataFrame) -> str:
    lines = [
        "| Model | Top-1 % (95 % interval) | Points to baseline | Points to control | MiB | Smaller |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for _, row in rows.iterrows():
        size, times = text.number(row["size_mib"], 2), text.times(row["times_smaller"])
        points = f"{text.difference(row)} | {text.difference(row, 'control')}"
        lines.append(f"| `{row['model']}` | {text.accuracy(row)} | {points} | {size} | {times} |")
    return "\n".join(lines)
