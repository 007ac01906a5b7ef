"""The source report's accuracies on held-out images under our models' ids [%]; `baseline` is each one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report.tables import BASELINE

if TYPE_CHECKING:
    from deepcompress.report.tables import Tables

TEACHERS = ("vgg16", "vgg19")


def pruned(data: Tables) -> dict[str, float]:
    """Figure 7: both methods at 25 %."""
    theirs = data.paper["pruned"]
    at = theirs["overall_sparsity"]
    found = {f"pruned/{method}-{at}": theirs[method]["top1_pct"] for method in ("unstructured", "structured")}
    return {BASELINE: data.paper["baseline"]["top1_pct"], **found}


def quantized(data: Tables) -> dict[str, float]:
    """Figure 11: each mode and format."""
    theirs = data.paper["quantized"]
    found = {f"quantized/{mode}-{form}": top1 for mode in ("ptq", "qat") for form, top1 in theirs[mode].items()}
    return {BASELINE: theirs["baseline"], **found}


def taught(data: Tables) -> dict[str, float]:
    """Figures 12 and 13: teachers and their students; they name no baseline."""
    theirs = data.paper["students"]
    learners = {f"students/{m}-{t}": top1 for t in TEACHERS for m, top1 in theirs[t].items()}
    return learners | {f"teachers/{t}": data.paper["teachers"][t] for t in TEACHERS}
