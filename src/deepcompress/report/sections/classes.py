"""Accuracy on single classes: the best and the worst ten of the baseline, and what compression did."""

from __future__ import annotations

from deepcompress.report import figures, findings, tables
from deepcompress.report.blocks import Paragraph, Picture, Section
from deepcompress.report.tables import BASELINE, Tables
from deepcompress.report.text import signed

ENDS = 10


def build(data: Tables) -> Section | None:
    """The baseline's classes in order, the smallest good model beside it; None without any class."""
    rows = data.per_class.dropna(subset=["top1_pct"])
    baseline = rows[rows["model"] == BASELINE].sort_values(["top1_pct", "class"], ascending=[False, True])
    if baseline.empty:
        return None
    classes = [str(name) for name in baseline["class"]]
    few = len(classes) <= 2 * ENDS
    shown = classes if few else classes[:ENDS] + classes[-ENDS:]
    best = tables.smallest_within(data.compressed, data.max_drop_points)
    known = set(rows["model"])
    models = [BASELINE] if best is None or best["model"] not in known else [BASELINE, best["model"]]
    figure = figures.class_accuracy(rows[rows["model"].isin(models)], shown, findings.of_classes(baseline))
    which = "All classes" if few else f"The best and the worst {ENDS} of {len(classes)} classes"
    n = sorted({int(n) for n in baseline["n"]})
    images = f"{n[0]}" if len(n) == 1 else f"{n[0]} to {n[-1]}"
    caption = f"{which}, in the baseline's order; {images} held-out images each. Bars: 95 % Wilson intervals."
    picture = Picture("class_accuracy", figure, caption)
    return Section("Accuracy per class", (picture, *_losers(data, models, images)), order=75)


def _losers(data: Tables, models: list[str], images: str) -> list[Paragraph]:
    """Which classes pay for the compression, where there is a compressed model."""
    if len(models) == 1:
        return []
    wide = data.per_class.pivot(index="class", columns="model", values="top1_pct")
    change = (wide[models[1]] - wide[BASELINE]).dropna().sort_values(kind="stable")
    named = ", ".join(f"{name} ({signed(points, 0)})" for name, points in change.head(3).items())
    return [Paragraph(f"{models[1]} against the baseline, lowest three in points: {named}; {images} images each.")]
