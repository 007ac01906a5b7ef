"""Students: models that learn from a teacher, and the controls that learn alone."""

from __future__ import annotations

from deepcompress.report import technique
from deepcompress.report.blocks import Section
from deepcompress.report.tables import BASELINE, Tables


def build(data: Tables) -> Section | None:
    """Each way of distilling against the baseline, which is the same network trained without a teacher."""
    paper = {BASELINE: data.paper["quantized"]["baseline"]} | {
        f"students/{method}-{teacher}": top1
        for teacher in ("vgg16", "vgg19")
        for method, top1 in data.paper["students"][teacher].items()
    }
    return technique.section(data, "students", "Knowledge distillation", order=40, paper=paper)
