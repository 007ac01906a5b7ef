"""Training curves of every trained model, a figure per family."""

from __future__ import annotations

from deepcompress.report import figures, findings, tables
from deepcompress.report.blocks import Picture, Section
from deepcompress.report.tables import Tables


def build(data: Tables) -> Section | None:
    """Validation accuracy and training loss against the epoch; None when nothing was trained."""
    if data.history.empty:
        return None
    families = data.history["model"].map(tables.family)
    in_order = dict.fromkeys([*data.models["family"], *families])
    runs_of = {family: data.history[families == family] for family in in_order}
    pictures = tuple(
        Picture(f"{family}_training", figures.training_curves(runs, findings.of_training(runs)))
        for family, runs in runs_of.items()
        if not runs.empty
    )
    return Section("Training curves", pictures, order=70)
