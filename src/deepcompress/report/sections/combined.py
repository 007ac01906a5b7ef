"""Combined models: several techniques, one after the other. The source report has no numbers on them."""

from __future__ import annotations

from deepcompress.report import technique
from deepcompress.report.blocks import Section
from deepcompress.report.tables import Tables


def build(data: Tables) -> Section | None:
    """Cost in accuracy and gain in size of each combination."""
    return technique.section(data, "combined", "Techniques combined", order=60)
