"""How pruning changes the weights: histograms before, after unstructured and after structured pruning."""

from __future__ import annotations

from deepcompress.report import pruning_figures, weights
from deepcompress.report.blocks import Picture, Section
from deepcompress.report.claims import paragraphs
from deepcompress.report.tables import Tables

CAPTION = "Counterpart of Figure {} of the source report."


def build(data: Tables) -> Section | None:
    """Figures 1 to 3 of the source report beside ours; None while nothing was pruned."""
    pictures: list[Picture] = []
    for method, number in (("unstructured", 2), ("structured", 3)):
        if (found := weights.drawn(data, method)) is None:
            continue
        rows, sparsity = found
        if not pictures:
            dense = rows[rows["state"] == "dense"]
            figure = pruning_figures.weight_histograms(dense, "Weights of the baseline", family="baseline")
            pictures.append(Picture("weights_dense", figure, CAPTION.format(1)))
        title = f"Weights after {method} pruning at {100 * sparsity:.0f} %"
        figure = pruning_figures.weight_histograms(rows[rows["state"] == "masked"], title, family="pruned")
        pictures.append(Picture(f"weights_{method}", figure, CAPTION.format(number)))
    if not pictures:
        return None
    said = paragraphs(data, "Figure 1", "Figure 2", "Figure 3")
    return Section("Weights before and after pruning", (*said, *pictures), order=11)
