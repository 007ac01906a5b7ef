"""What several sections say of some models: a sentence on the smallest good one, and the columns to compare them by."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import findings, text
from deepcompress.report.blocks import Paragraph, Table
from deepcompress.report.tables import Tables

KEY = "95 %: interval. Points: difference to the baseline; p: McNemar's test. ECE: expected calibration error."


def lead(data: Tables, rows: pd.DataFrame) -> Paragraph:
    """What the smallest good model of a family brings."""
    return Paragraph(findings.of_models(rows, data), strong=True)


def models_table(rows: pd.DataFrame, *, caption: str = KEY, folded: str = "") -> Table:
    """The measured columns that a reader compares models by; those without any value are left out."""
    columns = {
        "Model": list(rows["model"]),
        "Top-1 % (95 %)": [text.accuracy(row) for _, row in rows.iterrows()],
        "Points to baseline (95 %)": [text.difference(row) for _, row in rows.iterrows()],
        "p": [text.probability(p) for p in rows["mcnemar_p"]],
        "MiB": [text.number(size, 2) for size in rows["size_mib"]],
        "Smaller": [text.times(times) for times in rows["times_smaller"]],
        "Parameters": [text.short(n) for n in rows["parameters"]],
        "Non-zero": [text.short(n) for n in rows["nonzero_weights"]],
        "MACs": [text.short(n) for n in rows["macs"]],
        "ECE, %": [text.number(error) for error in rows["calibration_error_pct"]],
    }
    return Table.of(columns, caption, folded)


def whole(columns: dict[str, list[str]], caption: str = "", folded: str = "") -> Table:
    """A table that keeps columns without any value."""
    return Table(tuple(columns), tuple(zip(*columns.values(), strict=True)), caption, folded)
