"""How pruning changes the weights: histograms before, after unstructured and after structured pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import pruning, pruning_figures
from deepcompress.report.blocks import Block, Paragraph, Picture, Section

if TYPE_CHECKING:
    from deepcompress.report.tables import Tables

SPARSITIES = (0.5, 0.25)  # the report draws 50 %; what the sweep lacks is drawn at 25 %
LEAD = (
    "Unstructured pruning cuts a hole around zero in each layer's distribution; structured pruning takes whole "
    "filters, large weights among them, and leaves its shape. Masked weights, before training on."
)


def build(data: Tables) -> Section | None:
    """Counterparts of the report's figures 1 to 3; None while nothing was pruned."""
    pictures: list[Block] = []
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
        title = f"Weights after {method} pruning at {100 * sparsity:.0f} %"
        figure = pruning_figures.weight_histograms(rows[rows["state"] == "masked"], title, family="pruned")
        pictures.append(Picture(f"weights_{method}", figure, f"Counterpart of figure {number}."))
    return Section("Weights before and after pruning", (Paragraph(LEAD), *pictures), order=11) if pictures else None
