"""The run as a whole: every model at a glance, the baseline beside the source report's, training curves, classes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from deepcompress.report import figures, findings, tables, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.sections import families
from deepcompress.report.source_report import is_cifar100, setting_note
from deepcompress.report.tables import BASELINE, Tables

CAPTION = "Bars: 95 % Wilson intervals. Dotted: the Pareto front; no model is both smaller and more accurate."
# Source report, section 2.1, "Model preparation and fine-tuning" and "Training configuration".
SOURCE_SETTING = {
    "Architecture": "vgg11",
    "Data": "CIFAR-100, 100 classes",
    "Image size, px": "224",
    "Starting weights": "imagenet",
    "Trained layers": "head",
    "Epochs": "3",
    "Batch size": "64",
    "Optimizer": "adam",
    "Learning rate": "0.001",
    "Weight decay": "0.0001",
}
ENDS = 10  # classes that are shown of each end


def overview(data: Tables) -> Section:
    """Opens the page: accuracy against size, the table of the models that matter, all of them folded away below."""
    finding = findings.of_all(data)
    alone = len(data.candidates) == 1
    lead = f"{finding}." if alone else findings.of_models(data.compressed, data, name="model")
    front = tables.pareto(data.candidates)
    baseline = data.models[data.models["model"] == BASELINE]
    best = pd.concat([baseline, front[front["model"] != BASELINE][::-1]])
    caption = f"The baseline and the Pareto front. {families.KEY}"
    blocks: list[Block] = [
        Paragraph(lead, strong=True),
        Picture("accuracy_size", figures.accuracy_size(data.candidates, finding), CAPTION),
        families.models_table(best, caption=caption, full_names=True),
    ]
    if len(best) < len(data.models):
        blocks.append(families.models_table(data.models, folded=f"All {len(data.models)} models", full_names=True))
    return Section("Accuracy against size", tuple(blocks))


def baseline(data: Tables) -> Section:
    """Setting and accuracy of both baselines side by side, and whether the two accuracies can be compared at all."""
    here, theirs = _setting(data), float(data.paper["baseline"]["top1_pct"])
    rows = [(name, setting, here[name]) for name, setting in SOURCE_SETTING.items()]
    rows.append(("Top-1, %", text.number(theirs), text.accuracy(data.baseline)))
    rows.append(("Held-out images", "10,000", f"{int(data.baseline['n']):,}"))
    caption = f"The source report's accuracy is stated without interval; {data.paper['baseline']['note']}."
    table = Table(("Baseline", "Source report", "Here (95 % interval)"), tuple(rows), caption)
    return Section("The baseline", (Paragraph(_verdict(data, theirs), strong=True), table))


def _verdict(data: Tables, theirs: float) -> str:
    row, note = data.baseline, setting_note(data)
    both = f"{text.number(row['top1_pct'])} % here, {text.number(theirs)} % in the source report"
    if not is_cifar100(data):
        return f"{both}: other data, so that this neither agrees with the source report nor contradicts it{note}."
    if row["top1_pct_low"] <= theirs <= row["top1_pct_high"]:
        return f"{both}: they agree within our 95 % interval{note}."
    side = "below" if theirs < row["top1_pct"] else "above"
    return f"{both}: our 95 % interval leaves the source report's value {side} it{note}."


def _setting(data: Tables) -> dict[str, str]:
    model, recipe = data.params.get("model", {}), data.params.get("finetune", {})
    source, classes = data.params.get("data", {}).get("source", text.MISSING), data.per_class["class"].nunique()
    width = model.get("width", 1)
    batch_norm = " with batch norm" if model.get("batch_norm") else ""
    values: dict[str, Any] = {
        "Architecture": f"{model.get('arch', text.MISSING)}{batch_norm}{'' if width == 1 else f', width × {width}'}",
        "Data": f"{source}, {text.count(classes, 'class')}",
        "Image size, px": model.get("image_size"),
        "Starting weights": model.get("weights") or "random",
        "Trained layers": recipe.get("trainable"),
        "Epochs": recipe.get("epochs"),
        "Batch size": recipe.get("batch_size"),
        "Optimizer": recipe.get("optimizer"),
        "Learning rate": recipe.get("learning_rate"),
        "Weight decay": recipe.get("weight_decay"),
    }
    return {name: text.MISSING if value is None else str(value) for name, value in values.items()}


def training(data: Tables) -> Section | None:
    """Validation accuracy and training loss against the epoch, a figure per family; None when nothing was trained."""
    if data.history.empty:
        return None
    in_order = dict.fromkeys([*data.models["family"], *data.history["family"]])
    runs_of = {family: data.history[data.history["family"] == family] for family in in_order}
    pictures = tuple(
        Picture(f"{family}_training", figures.training_curves(runs, findings.of_training(runs)))
        for family, runs in runs_of.items()
        if not runs.empty
    )
    return Section("Training curves", pictures)


def classes(data: Tables) -> Section | None:
    """The baseline's best and worst classes, the smallest good model beside it; None without any class."""
    rows = data.named(data.per_class.dropna(subset=["top1_pct"]))
    dense = rows[rows["model"] == BASELINE].sort_values(["top1_pct", "class"], ascending=[False, True])
    if dense.empty:
        return None
    listed = [str(name) for name in dense["class"]]
    few = len(listed) <= 2 * ENDS
    shown = listed if few else listed[:ENDS] + listed[-ENDS:]
    best = tables.smallest_within(data.compressed, data.max_drop_points)
    models = [BASELINE] if best is None or best["model"] not in set(rows["model"]) else [BASELINE, best["model"]]
    figure = figures.class_accuracy(rows[rows["model"].isin(models)], shown, findings.of_classes(dense))
    which = "All classes" if few else f"The best and the worst {ENDS} of {len(listed)} classes"
    images = " to ".join(str(n) for n in dict.fromkeys((int(dense["n"].min()), int(dense["n"].max()))))
    caption = f"{which}, in the baseline's order; {images} held-out images each. Bars: 95 % Wilson intervals."
    blocks: list[Block] = [Picture("class_accuracy", figure, caption)]
    if len(models) > 1:
        wide = data.per_class.pivot(index="class", columns="model", values="top1_pct")
        change = (wide[models[1]] - wide[BASELINE]).dropna().sort_values(kind="stable")
        named = ", ".join(f"{name} ({text.signed(points, 0)})" for name, points in change.head(3).items())
        sentence = f"{models[1]} against the baseline, lowest three in points: {named}; {images} images each."
        blocks.append(Paragraph(sentence))
    return Section("Accuracy per class", tuple(blocks))


SECTIONS = {"overview": (0, overview), "baseline": (5, baseline), "training": (70, training), "classes": (75, classes)}
