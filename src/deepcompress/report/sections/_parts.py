"""What several sections say of some models: a sentence on the smallest good one, and tables of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from deepcompress.report import findings, text
from deepcompress.report.blocks import Paragraph, Table
from deepcompress.report.tables import Tables

Column = str | tuple[str, int] | Callable[[pd.Series], str]  # as it is, a number with its digits, or how to write a row
KEY = "95 %: interval. Points: difference to the baseline; p: McNemar's test. ECE: expected calibration error."
MODELS: dict[str, Column] = {
    "Model": "model",
    "Top-1 % (95 %)": text.accuracy,
    "Points to baseline (95 %)": text.difference,
    "p": lambda row: text.probability(row["mcnemar_p"]),
    "p (Holm)": lambda row: text.probability(row["holm_p"]),
    "Points to control (95 %)": lambda row: text.difference(row, "control"),
    "MiB": ("size_mib", 2),
    "Smaller": lambda row: text.times(row["times_smaller"]),
    "Parameters": lambda row: text.short(row["parameters"]),
    "Non-zero": lambda row: text.short(row["nonzero_weights"]),
    "MACs": lambda row: text.short(row["macs"]),
    "ECE, %": ("calibration_error_pct", 1),
}


def table(rows: pd.DataFrame, columns: Mapping[str, Column], caption: str = "", folded: str = "") -> Table:
    """A line per row, a column per heading; columns without any value are left out."""
    cells = [row for _, row in rows.iterrows()]
    return Table.of(
        {head: [_written(row, column) for row in cells] for head, column in columns.items()}, caption, folded
    )


def models_table(rows: pd.DataFrame, *, caption: str = KEY, folded: str = "") -> Table:
    """The measured columns that a reader compares models by."""
    return table(rows, MODELS, caption, folded)


def interval(column: str, digits: int = 1, write: Callable[[float, int], str] = text.number) -> Column:
    """How to write a column with its interval."""
    return lambda row: text.interval(row, column, digits, write)


def lead(data: Tables, rows: pd.DataFrame) -> Paragraph:
    """What the smallest good model of a family brings."""
    return Paragraph(findings.of_models(rows, data), strong=True)


def _written(row: pd.Series, column: Column) -> str:
    if callable(column):
        return column(row)
    return str(row[column]) if isinstance(column, str) else text.number(row[column[0]], column[1])
