"""What the section of any family of models holds, and the families that need nothing else: shipped and combined."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import figures, findings, queries, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.source_report import side_by_side, source_top1
from deepcompress.report.tables import BASELINE, Tables

KEY = "95 %: interval. Points: difference to the baseline; p: McNemar's test. ECE: expected calibration error."
NOT_THERE = "The source report measured none of these models."


def shipped(data: Tables) -> Section | None:
    """What params.yaml makes of the baseline: your own pruning, and your own format on top."""
    rows = data.of("shipped")
    return None if rows.empty else Section("Your configuration", (lead(data, rows), *against_baseline(data, rows)))


def combined(data: Tables) -> Section | None:
    """Several techniques on one model, and what a teacher adds to the same steps without one."""
    rows = data.of("combined")
    if rows.empty:
        return None
    gains = [
        f"{row['model']} against {row['control']}, which had no teacher: {text.difference(gain)} points (95 %)"
        for _, row in rows.dropna(subset=["teacher"]).iterrows()
        if (gain := queries.pair(data, row["model"], row["control"])) is not None
    ]
    taught = [Paragraph("; ".join(gains) + ".")] if gains else []
    return Section("Combined techniques", (lead(data, rows), *against_baseline(data, rows), *taught))


def lead(data: Tables, rows: pd.DataFrame) -> Paragraph:
    """What the smallest good model of a family brings."""
    return Paragraph(findings.of_models(rows, data), strong=True)


def against_baseline(data: Tables, rows: pd.DataFrame, *, there: bool = False) -> list[Block]:
    """The models of one family beside the baseline and the source report: figure and tables.

    Args:
        data: All tables.
        rows: The family's models.
        there: Whether the source report has this family.
    """
    family, blocks = str(rows["family"].iloc[0]), list[Block]()
    if rows["difference_points"].notna().any():
        theirs = source_top1(data, family) if there else {}
        points = {model: top1 - theirs[BASELINE] for model, top1 in theirs.items() if model != BASELINE}
        figure = figures.differences(rows, points, findings.of_family(rows, data))
        blocks.append(Picture(f"{family}_differences", figure))
    beside = side_by_side(data, family) if there else None
    return [*blocks, models_table(rows, caption=KEY), beside or Paragraph(NOT_THERE)]


def models_table(rows: pd.DataFrame, *, caption: str = "", folded: str = "", full_names: bool = False) -> Table:
    """The measured columns that a reader compares models by; those without any value are left out."""
    columns = {
        "Model": list(rows["model" if full_names else "name"]),
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


SECTIONS = {"shipped": (6, shipped), "combined": (50, combined)}
