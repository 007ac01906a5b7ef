"""Teachers: larger models that students learn from."""

from __future__ import annotations

from deepcompress.report import technique
from deepcompress.report.blocks import Section
from deepcompress.report.tables import BASELINE, Tables


def build(data: Tables) -> Section | None:
    """How much better the teachers are than the baseline."""
    teachers = {f"teachers/{name}": data.paper["teachers"][name] for name in ("vgg16", "vgg19")}
    paper = {BASELINE: data.paper["quantized"]["baseline"], **teachers}
    return technique.section(data, "teachers", "Teachers", order=30, paper=paper)
