"""How much each layer minds being pruned alone, and how a sparsity was shared out over the layers because of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import pruning, pruning_figures
from deepcompress.report.blocks import Block, Picture, Section, Table
from deepcompress.report.claims import paragraphs

if TYPE_CHECKING:
    import pandas as pd

    from deepcompress.report.tables import Tables

FIGURES = {"unstructured": "Figure 4", "structured": "Figure 5"}
TABLES = {"unstructured": "Table 1", "structured": "Table 2"}


def build(data: Tables) -> Section | None:
    """Curves and tables of both methods; None while no layer was tried."""
    blocks: list[Block] = []
    for method in pruning.METHODS:
        rows = data.extra.get(f"sensitivity/{method}")
        if rows is not None and not rows.empty:
            blocks += [*_curves(data, rows, method), *_allocation(data, method)]
    return Section("Which layers can be pruned", tuple(blocks), order=8) if blocks else None


def _curves(data: Tables, rows: pd.DataFrame, method: str) -> list[Block]:
    most, least = pruning.most_sensitive(rows)
    n = int(rows["n"].iloc[0])
    title = f"{method.capitalize()}: {most} is the most sensitive layer, {least} the least"
    caption = (
        f"Counterpart of {FIGURES[method]} of the source report. One layer pruned at a time by "
        f"{rows['criterion'].iloc[0]}, nothing trained on; {n:,} validation images; bars: one standard error."
    )
    picture = Picture(f"sensitivity_{method}", pruning_figures.sensitivity_curves(rows, title), caption)
    return [*paragraphs(data, FIGURES[method], strong=True), picture]


def _allocation(data: Tables, method: str) -> list[Block]:
    rows = pruning.extra(data, "allocation", method)
    if rows is None:
        return []
    theirs = data.paper["pruned"][method]["assigned"]
    names = pruning.paper_names(list(rows["layer"]))
    cells = [
        (
            str(row["layer"]),
            f"{row['weights']:,}",
            _share(row["assigned_sparsity"]),
            _share(row["achieved_sparsity"]),
            _share(theirs.get(names.get(str(row["layer"]), ""), data.paper["pruned"][method]["overall"])),
        )
        for _, row in rows.iterrows()
    ]
    scope = {"all": "all convolutions and linear layers", "conv": "the convolutions alone"}[str(rows["scope"].iloc[0])]
    caption = f"Counterpart of {TABLES[method]} of the source report. Sparsities are shares of the weights of {scope}."
    heads = ("Layer", "Weights", "Here: assigned", "Here: achieved", "Paper: assigned and achieved")
    return [
        *paragraphs(data, TABLES[method]),
        Table(heads, tuple(cells), caption, folded=f"Sparsity per layer, {method} 25 %"),
    ]


def _share(value: float) -> str:
    return f"{value:.3f}"
