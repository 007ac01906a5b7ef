"""Pruned models: weights set to zero, or channels removed."""

from __future__ import annotations

from deepcompress.report import technique
from deepcompress.report.blocks import Section
from deepcompress.report.tables import BASELINE, Tables


def build(data: Tables) -> Section | None:
    """Cost in accuracy of each method and sparsity; the source report measured both methods at 25 %."""
    theirs = data.paper["pruned"]
    paper = {
        BASELINE: data.paper["baseline"]["top1_pct"],
        **{
            f"pruned/{method}-{theirs['overall_sparsity']}": theirs[method]["top1_pct"]
            for method in ("unstructured", "structured")
        },
    }
    return technique.section(data, "pruned", "Pruning", order=10, paper=paper)
