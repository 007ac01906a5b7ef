"""Opens the page: accuracy against size of every model, and one table."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import figures, findings, tables, technique
from deepcompress.report.blocks import Block, Paragraph, Picture, Section
from deepcompress.report.tables import Tables

CAPTION = "Bars: 95 % Wilson intervals. Dotted: the Pareto front; no model is both smaller and more accurate."


def build(data: Tables) -> Section:
    """The figure of all models and the table of those that matter; all of them folded away below."""
    finding = findings.of_all(data)
    compared = len(data.candidates) > 1
    lead = findings.of_models(data.compressed, data, name="model") if compared else f"{finding}."
    front = tables.pareto(data.candidates)
    baseline = data.models[data.models["model"] == tables.BASELINE]
    short = pd.concat([baseline, front[front["model"] != tables.BASELINE][::-1]])
    blocks: list[Block] = [
        Paragraph(lead, strong=True),
        Picture("accuracy_size", figures.accuracy_size(data.candidates, finding), CAPTION),
        technique.table(short, caption=f"The baseline and the Pareto front. {technique.KEY}", full_names=True),
    ]
    if len(short) < len(data.models):
        blocks.append(technique.table(data.models, folded=f"All {len(data.models)} models", full_names=True))
    return Section("Accuracy against size", tuple(blocks), order=0)
