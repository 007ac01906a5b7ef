"""The models to ship: what the params of each single technique, and of all in a row, make of the baseline."""

from __future__ import annotations

from deepcompress.report import technique
from deepcompress.report.blocks import Section
from deepcompress.report.tables import Tables


def build(data: Tables) -> Section | None:
    """Cost in accuracy and gain in size; the source report ships no model."""
    return technique.section(data, "shipped", "The models to ship", order=6)
