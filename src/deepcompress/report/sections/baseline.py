"""The model that everything is compared with: the source report's setting and accuracy beside ours."""

from __future__ import annotations

from typing import Any

from deepcompress.report import text
from deepcompress.report.blocks import Paragraph, Section, Table
from deepcompress.report.source_report import is_cifar100, setting_note
from deepcompress.report.tables import Tables

# Source report, section 2.1, "Model preparation and fine-tuning" and "Training configuration".
PAPER_SETTING = {
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


def build(data: Tables) -> Section:
    """Setting and accuracy side by side, and whether the two accuracies can be compared at all."""
    here = _setting(data)
    rows = [(name, paper, here[name]) for name, paper in PAPER_SETTING.items()]
    rows.append(("Top-1, %", text.number(_paper_top1(data)), text.accuracy(data.baseline)))
    rows.append(("Held-out images", "10,000", f"{int(data.baseline['n']):,}"))
    caption = f"The paper's accuracy is stated without interval; {data.paper['baseline']['note']}."
    table = Table(("Baseline", "Paper", "Here (95 % interval)"), tuple(rows), caption)
    return Section("The baseline", (Paragraph(_verdict(data), strong=True), table), order=5)


def _verdict(data: Tables) -> str:
    row, theirs = data.baseline, _paper_top1(data)
    ours = f"{text.number(row['top1_pct'])} % here, {text.number(theirs)} % in the paper"
    note = setting_note(data)
    if not is_cifar100(data):
        return f"{ours}: other data, so that this neither agrees with the paper nor contradicts it{note}."
    if row["top1_pct_low"] <= theirs <= row["top1_pct_high"]:
        return f"{ours}: they agree within our 95 % interval{note}."
    return f"{ours}: our 95 % interval leaves the paper's value {_side(row['top1_pct'], theirs)} it{note}."


def _side(ours: float, theirs: float) -> str:
    return "below" if theirs < ours else "above"


def _paper_top1(data: Tables) -> float:
    return float(data.paper["baseline"]["top1_pct"])


def _setting(data: Tables) -> dict[str, str]:
    model, recipe = data.params.get("model", {}), data.params.get("finetune", {})
    classes = data.per_class["class"].nunique()
    values: dict[str, Any] = {
        "Architecture": _architecture(model),
        "Data": f"{data.params.get('data', {}).get('source', text.MISSING)}, {text.count(classes, 'class')}",
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


def _architecture(model: dict[str, Any]) -> str:
    width = model.get("width", 1)
    return (
        str(model.get("arch", text.MISSING))
        + (" with batch norm" if model.get("batch_norm") else "")
        + ("" if width == 1 else f", width × {width}")
    )
