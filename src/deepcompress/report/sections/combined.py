"""Combined models: several techniques on one model, beside what each alone brings."""

from __future__ import annotations

from deepcompress.report import technique, text
from deepcompress.report.blocks import Block, Paragraph, Section
from deepcompress.report.tables import Tables


def build(data: Tables) -> Section | None:
    """The combined models, and what a teacher adds to the same steps without one."""
    found = technique.section(data, "combined", "Combined techniques", order=50)
    if found is None:
        return None
    return Section(found.title, (*found.blocks, *_taught(data)), found.order)


def _taught(data: Tables) -> list[Block]:
    pairs = data.pairs[data.pairs["model"].str.startswith("combined/")]
    said = [
        f"{row['model']} against {row['reference']}, which had no teacher: {text.difference(row)} points (95 %)"
        for _, row in pairs.iterrows()
    ]
    return [Paragraph("; ".join(said) + ".")] if said else []
