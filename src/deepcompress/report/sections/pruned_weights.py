"""How pruning changes the weights: histograms before, after unstructured and after structured pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import pruning, pruning_figures, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section

if TYPE_CHECKING:
    import pandas as pd

    from deepcompress.report.tables import Tables

SPARSITIES = (0.5, 0.25)  # the report draws 50 %; what the sweep lacks is drawn at 25 %
NEAR = 0.5  # standard deviations of the dense layer: what counts as near zero


def build(data: Tables) -> Section | None:
    """Counterparts of the report's figures 1 to 3; None while nothing was pruned."""
    pictures: list[Block] = []
    shares: dict[str, float] = {}
    for method, number in (("unstructured", 2), ("structured", 3)):
        rows, sparsity = next(
            ((rows, s) for s in SPARSITIES if (rows := pruning.extra(data, "weights", method, s)) is not None),
            (None, 0.0),
        )
        if rows is None:
            continue
        if not pictures:
            dense = rows[rows["state"] == "dense"]
            figure = pruning_figures.weight_histograms(dense, "Weights of the baseline", family="baseline")
            pictures.append(Picture("weights_dense", figure, "Counterpart of figure 1."))
            shares["in the baseline"] = near_zero_pct(rows, "dense")
        shares[f"after {method} pruning at {100 * sparsity:.0f} %"] = near_zero_pct(rows, "masked")
        title = f"Weights after {method} pruning at {100 * sparsity:.0f} %"
        figure = pruning_figures.weight_histograms(rows[rows["state"] == "masked"], title, family="pruned")
        pictures.append(Picture(f"weights_{method}", figure, f"Counterpart of figure {number}."))
    return (
        Section(
            "Weights before and after pruning", (Paragraph(_beside_the_paper(shares), strong=True), *pictures), order=11
        )
        if pictures
        else None
    )


def near_zero_pct(rows: pd.DataFrame, state: str) -> float:
    """Of the weights that are not zero, the share within NEAR standard deviations of zero, over all layers [%].

    Args:
        rows: Histograms of one pruned model, a row per state, layer and bin; zeros are not in `count`.
        state: `dense` or `masked`; the standard deviation is the dense layer's in both.
    """
    middle, near, every = (rows["low"] + rows["high"]) / 2, 0.0, 0.0
    for layer, dense in rows[rows["state"] == "dense"].groupby("layer"):
        at = middle[dense.index]
        mean = (at * dense["count"]).sum() / dense["count"].sum()
        deviation = (((at - mean) ** 2 * dense["count"]).sum() / dense["count"].sum()) ** 0.5
        some = rows[(rows["state"] == state) & (rows["layer"] == layer)]
        near += some.loc[middle[some.index].abs() < NEAR * deviation, "count"].sum()
        every += some["count"].sum()
    return float(100 * near / every)


def _beside_the_paper(shares: dict[str, float]) -> str:
    """What the source report sees in figures 2 and 3, beside counts of all weights, masked and not trained on."""
    (_, dense), *pruned = shares.items()
    more = [where for where, share in pruned if share > dense]
    seen = f"more gather there {' and '.join(more)}" if more else "what gathers there is the zeros alone"
    numbers = ", ".join(f"{text.number(share)} % {where}" for where, share in shares.items())
    return (
        "The source report sees weights gather near zero after both kinds of pruning. Of the weights that are not "
        f"zero, {numbers} lie within half a standard deviation of it: {seen}. Before training on."
    )
