"""How much each layer minds being pruned alone, and how a sparsity was shared out over the layers because of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import pruning, pruning_figures, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table

if TYPE_CHECKING:
    import pandas as pd

    from deepcompress.report.tables import Tables

FIGURES = {"unstructured": 4, "structured": 5}
TABLES = {"unstructured": 1, "structured": 2}
OVERALL = "Overall"


def build(data: Tables) -> Section | None:
    """Curves and tables of both methods; None while no layer was tried."""
    blocks: list[Block] = []
    for method in pruning.METHODS:
        rows = data.extra.get(f"sensitivity/{method}")
        if rows is not None and not rows.empty:
            blocks += [*_curves(rows, method), *_allocation(data, method)]
    return Section("Which layers can be pruned", tuple(blocks), order=8) if blocks else None


def _curves(rows: pd.DataFrame, method: str) -> list[Block]:
    most, least = pruning.most_sensitive(rows)
    n = int(rows["n"].iloc[0])
    title = f"{method.capitalize()}: {most} is the most sensitive layer, {least} the least"
    caption = (
        f"Counterpart of figure {FIGURES[method]}. One layer pruned at a time by {rows['criterion'].iloc[0]}, nothing "
        f"trained on; {n:,} validation images; bars: one standard error."
    )
    picture = Picture(f"sensitivity_{method}", pruning_figures.sensitivity_curves(rows, title), caption)
    return [Paragraph(_beside_the_paper(rows, method), strong=True), picture]


def _beside_the_paper(rows: pd.DataFrame, method: str) -> str:
    """The report's claim about sensitive layers, held against ours."""
    top1 = rows.groupby("layer", sort=False)["top1_pct"].mean()
    most, least = pruning.most_sensitive(rows)
    if method == "unstructured":
        linear = top1[top1.index.str.startswith("classifier")].mean()
        convolutions = top1[~top1.index.str.startswith("classifier")].mean()
        agrees = linear < convolutions
        said = "fully connected layers mind unstructured pruning more than convolutions do"
        ours = (
            f"mean top-1 over all sparsities is {text.number(linear)} % with a linear layer pruned and "
            f"{text.number(convolutions)} % with a convolution pruned"
        )
    else:
        agrees = most in ("features.0", "features.3", "features.4")
        said = "the first convolutions mind structured pruning most, deep ones least"
        ours = (
            f"{most} loses most ({text.number(top1[most])} % on average), {least} least ({text.number(top1[least])} %)"
        )
    return f"The paper finds that {said}; {'this run agrees' if agrees else 'this run does not'}: {ours}."


def _allocation(data: Tables, method: str) -> list[Block]:
    rows = pruning.extra(data, "allocation", method)
    if rows is None:
        return []
    theirs = data.paper["pruned"][method]["assigned"]
    names = _paper_names(list(rows["layer"]))
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
    caption = f"Counterpart of table {TABLES[method]}. Sparsities are shares of the weights of {scope}."
    heads = ("Layer", "Weights", "Here: assigned", "Here: achieved", "Paper: assigned")
    return [Table(heads, tuple(cells), caption, folded=f"Sparsity per layer, {method} 25 %")]


def _paper_names(layers: list[str]) -> dict[str, str]:
    """Our layers -> the paper's, which has no batch norm: the n-th convolution is the n-th convolution."""
    theirs = [f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)] + [f"classifier.{i}" for i in (0, 3, 6)]
    ours = [layer for layer in layers if layer != OVERALL]
    fits = len(ours) in (8, len(theirs))
    return dict(zip(ours, theirs, strict=False)) if fits else {}


def _share(value: float) -> str:
    return f"{value:.3f}"
