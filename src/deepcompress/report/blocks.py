"""What a section of the report consists of: paragraphs, pictures, tables and folds, in order, free of any HTML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from deepcompress.report import findings, text
from deepcompress.report.tables import Tables

NUMBER = re.compile(r"([<+−]\s?)?\d[\d,.]*( ?[kMG×])?( \(.*\))?|–")
# A column as it is, a number with its digits, how to write a number, or how to write a row.
Column = str | tuple[str, int | Callable[[float], str]] | Callable[[pd.Series], str]
P = (
    "p: McNemar's test over images. Where a training stands between two models, points are means over seeds (top-1 is "
    "of one) and p is that of a t-test."
)
KEY = f"95 %: interval of the single comparison. {text.NS} {P} ECE: expected calibration error."
MODELS: dict[str, Column] = {
    "Model": "model",
    "Top-1 % (95 %)": text.accuracy,
    "Points to baseline (95 %)": text.difference,
    "p": ("mcnemar_p", text.probability),
    "p (Holm)": ("holm_p", text.probability),
    "Points to control (95 %)": lambda row: text.difference(row, "control"),
    "MiB": ("size_mib", 2),
    "Smaller": ("times_smaller", text.times),
    "Parameters": ("parameters", text.short),
    "Non-zero": ("nonzero_weights", text.short),
    "MACs": ("macs", text.short),
    "ECE, %": ("calibration_error_pct", 1),
}


@dataclass(frozen=True)
class Paragraph:
    """A sentence or two; `strong` marks the one that the reader should take away."""

    text: str
    strong: bool = False


@dataclass(frozen=True, eq=False)
class Picture:
    """One chart or several panels, `across` beside each other where there is room.

    Its name is unique in the report and becomes the file `plots/figures/<name>.png`; its title is the finding.
    """

    name: str
    title: str
    panels: tuple[dict[str, Any], ...]
    caption: str = ""
    across: int = 1


@dataclass(frozen=True)
class Table:
    """Written cells under written headings; folded away behind the words of `folded` when these are given.

    With `links`, the first cell of each row leads to the part of the page with that key.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    folded: str = ""
    links: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: pd.DataFrame, columns: Mapping[str, Column], caption: str = "", folded: str = "") -> Table:
        """A line per row, a column per heading; columns without any value are left out."""
        series = [row for _, row in rows.iterrows()]
        cells = {head: [_written(row, column) for row in series] for head, column in columns.items()}
        shown = {head: column for head, column in cells.items() if set(column) != {text.MISSING}}
        return cls(tuple(shown), tuple(zip(*shown.values(), strict=True)), caption, folded)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column whether all of its cells are numbers, so that it is set flush right."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.columns)
        return tuple(all(NUMBER.fullmatch(cell) for cell in column) for column in columns)


@dataclass(frozen=True, eq=False)
class Fold:
    """Details that open with a click, under a title of their own; `key` is their anchor."""

    title: str
    blocks: tuple[Block, ...]
    key: str


Block = Paragraph | Picture | Table | Fold


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page: a question, and what answers it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> Iterator[Picture]:
        """The figures among the blocks, folded ones, too."""
        return (block for block in flat(self.blocks) if isinstance(block, Picture))

    @property
    def keys(self) -> list[str]:
        """The anchors of the folds."""
        return [block.key for block in flat(self.blocks) if isinstance(block, Fold)]


def flat(blocks: Iterable[Block]) -> Iterator[Block]:
    """Blocks, and after each fold what it holds."""
    for block in blocks:
        yield block
        if isinstance(block, Fold):
            yield from flat(block.blocks)


def fold(title: str, key: str, blocks: Iterable[Block]) -> list[Block]:
    """A fold of some blocks, in a list; an empty one of none."""
    held = tuple(blocks)
    return [Fold(title, held, key)] if held else []


def lead(data: Tables, rows: pd.DataFrame) -> Paragraph:
    """What the smallest good model of a family brings."""
    return Paragraph(findings.of_models(rows, data), strong=True)


def models_part(data: Tables, rows: pd.DataFrame) -> list[Block]:
    """The same sentence, and the models in a table; nothing without models."""
    return [] if rows.empty else [lead(data, rows), models_table(rows)]


def models_table(rows: pd.DataFrame) -> Table:
    """The measured columns that a reader compares models by."""
    return Table.of(rows, MODELS, KEY)


def interval(column: str, digits: int = 1, write: Callable[[float, int], str] = text.number) -> Column:
    """How to write a column with its interval."""
    return lambda row: text.interval(row, column, digits, write)


def _written(row: pd.Series, column: Column) -> str:
    if isinstance(column, str):
        return str(row[column])
    if isinstance(column, tuple):
        name, write = column
        return write(row[name]) if callable(write) else text.number(row[name], write)
    return column(row)
