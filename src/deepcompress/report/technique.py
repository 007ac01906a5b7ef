"""The section of one family of models: finding, figure, table, and the source report beside ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import figures, findings, source_report, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from deepcompress.report.tables import Tables

KEY = "95 %: interval. Points: difference to the baseline; p: McNemar's test. ECE: expected calibration error."
NOT_THERE = "The source report measured none of these models."


def section(
    data: Tables, family: str, title: str, *, order: int, paper: Mapping[str, float] | None = None
) -> Section | None:
    """The section of a family, or None while it has no models.

    Args:
        data: All tables.
        family: First part of the ids of its models.
        title: Heading.
        order: Place on the page.
        paper: Model id -> the paper's top-1 [%]; under `baseline`, that of their baseline.
    """
    rows = data.of(family)
    if rows.empty:
        return None
    finding = findings.of_models(rows, data)
    theirs = {model: top1 for model, top1 in (paper or {}).items() if model in set(rows["model"])}
    blocks: list[Block] = [Paragraph(finding, strong=True)]
    if rows["difference_points"].notna().any():
        points = {model: top1 - (paper or {})["baseline"] for model, top1 in theirs.items()}
        picture = figures.differences(rows, points, findings.of_family(rows, data))
        blocks.append(Picture(f"{family}_differences", picture))
    blocks.append(table(rows, caption=KEY))
    beside = source_report.side_by_side(data, family) if theirs else None
    return Section(title, (*blocks, beside or Paragraph(NOT_THERE)), order)


def table(rows: pd.DataFrame, *, caption: str = "", folded: str = "", full_names: bool = False) -> Table:
    """The measured columns that a reader compares models by; those without any value are left out."""
    columns = {
        "Model": [row["model" if full_names else "name"] for _, row in rows.iterrows()],
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
    said = {head: cells for head, cells in columns.items() if set(cells) != {text.MISSING}}
    return Table(tuple(said), tuple(zip(*said.values(), strict=True)), caption, folded)
