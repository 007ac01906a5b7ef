"""Everything else: all columns of all models, the baseline, training, attention, classes, and how it was made."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from deepcompress import params
from deepcompress.measure.verdict import Estimate
from deepcompress.report import charts, estimates, queries, tables, text
from deepcompress.report.sections import _attention
from deepcompress.report.tables import BASELINE, Tables
from deepcompress.report.text import Block, Paragraph, Picture, Section, Table, fold, models_table

# Source report, section 2.1, "Model preparation and fine-tuning" and "Training configuration".
SETTING = {
    "Architecture": ("vgg11", "model.arch"), "Batch norm": ("False", "model.batch_norm"),
    "Width": ("1", "model.width"), "Data": ("CIFAR-100", "data.source"), "Image size, px": ("224", "model.image_size"),
    "Starting weights": ("imagenet", "model.weights"), "Trained layers": ("head", "finetune.trainable"),
    "Epochs": ("3", "finetune.epochs"), "Batch size": ("64", "finetune.batch_size"),
    "Optimizer": ("adam", "finetune.optimizer"), "Learning rate": ("0.001", "finetune.learning_rate"),
    "Weight decay": ("0.0001", "finetune.weight_decay"),
}  # fmt: skip
ENDS = 10  # classes that are shown of each end
MADE = "dvc repro makes all of this again, byte for byte on the same machine; nothing here was typed by hand."
PACKAGES = ("deepcompress", "torch", "torchvision", "lightning-fabric", "numpy", "pandas", "vl-convert-python", "dvc")


def details(data: Tables) -> Section:
    """Always there: every number that no question above asked for."""
    chart = charts.front(queries.usable(data), "size_mib")  # for README and DVC, which cannot run the page's chart
    best = Picture(charts.OVERVIEW, text.of_all(data), (chart,))
    blocks = (
        *fold(
            f"All {text.count(len(data.models), 'model')}, every column", "overview", [best, models_table(data.models)]
        ),
        *fold("The baseline", "baseline", _baseline(data)),
        *fold("Training curves", "training", _training(data)),
        *fold("Where compressed models look, and colour jitter", "attention", _attention.attention(data)),
        *fold("Accuracy per class", "classes", _classes(data)),
        *fold("How this was made", "provenance", _provenance(data)),
    )
    return Section("Details", blocks)


def _baseline(data: Tables) -> list[Block]:
    """Setting and accuracy of both baselines side by side, and whether the two accuracies can be compared at all."""
    here, theirs = dict(_written(data.params)), float(data.paper["baseline"]["top1_pct"])
    rows = [(name, there, here.get(key, text.MISSING)) for name, (there, key) in SETTING.items()]
    rows.append(("Top-1, %", text.number(theirs), text.accuracy(data.baseline)))
    rows.append(("Held-out images", "10,000", f"{int(data.baseline['n']):,}"))
    caption = f"The source report's accuracy is stated without interval; {data.paper['baseline']['note']}."
    table = Table(("Baseline", "Source report", "Here (95 % interval)"), tuple(rows), caption)
    return [Paragraph(_verdict(data, theirs), strong=True), table]


def _verdict(data: Tables, theirs: float) -> str:
    row, note = data.baseline, estimates.setting_note(data)
    both = f"{text.number(row['top1_pct'])} % here, {text.number(theirs)} % in the source report"
    if not estimates.is_cifar100(data):
        return f"{both}: other data, so that this neither agrees with the source report nor contradicts it{note}."
    value, low, high = (float(row[f"top1_pct{end}"]) for end in estimates.ENDS)
    apart = estimates.combined((estimates.interval(theirs), Estimate(value, low, high)), (1, -1))
    if apart.low <= 0 <= apart.high:
        return f"{both}: they agree within the error (95 %) of both ones' images, trainings aside{note}."
    side, points = "below" if apart.value < 0 else "above", estimates.ends(apart, signed=True)
    return f"{both}: the source report's lies {side} ours, {points} points (95 %, of images alone){note}."


def _training(data: Tables) -> list[Block]:
    """Validation accuracy and training loss against the epoch, a picture per family."""
    drawn = {"validation_top1_pct": "validation top-1 [%]", "train_loss": "training loss"}
    pictures: list[Block] = []
    for family in dict.fromkeys([*data.models["family"], *data.history["family"]]):
        runs = data.history[data.history["family"] == family]
        if not runs.empty:
            panels = [charts.lines(runs, "epoch", y, ("epoch", label), series="name") for y, label in drawn.items()]
            pictures.append(Picture(f"{family}_training", _of_training(runs), tuple(panels), across=2))
    return pictures


def _of_training(runs: pd.DataFrame) -> str:
    """Where the validation accuracy of the runs of one family ends."""
    last = runs.sort_values("epoch").groupby("model").tail(1)
    low, high = (text.number(end) for end in last["validation_top1_pct"].agg(["min", "max"]))
    if len(last) > 1:
        return f"{last['family'].iloc[0]}: {len(last)} runs end between {low} and {high} % on validation images"
    epochs = text.count(int(last["epoch"].max() - runs["epoch"].min()) + 1, "epoch")
    return f"{last['model'].iloc[0]}: {high} % on validation images after {epochs}"


def _classes(data: Tables) -> list[Block]:
    """The baseline's best and worst classes, the smallest good model beside it."""
    rows = data.named(data.per_class.dropna(subset=["top1_pct"]))
    dense = rows[rows["model"] == BASELINE].sort_values(["top1_pct", "class"], ascending=[False, True])
    if dense.empty:
        return []
    listed = [str(name) for name in dense["class"]]
    few = len(listed) <= 2 * ENDS
    shown = listed if few else listed[:ENDS] + listed[-ENDS:]
    best = tables.selected(data, data.candidates)
    models = [BASELINE] if best is None or best["model"] not in set(rows["model"]) else [BASELINE, best["model"]]
    which = "All classes" if few else f"The best and the worst {ENDS} of {len(listed)} classes"
    images = " to ".join(str(n) for n in dict.fromkeys((int(dense["n"].min()), int(dense["n"].max()))))
    caption = f"{which}, in the baseline's order; {images} held-out images each. Bars: 95 % intervals."
    own = rows[rows["model"].isin(models) & rows["class"].isin(shown)].assign(name=lambda some: some["class"])
    own = own.sort_values("class", key=lambda names: names.map(shown.index), kind="stable")
    chart = charts.dots(queries.with_interval(own, "top1_pct"), "top1_pct", charts.TOP1, series="model")
    blocks: list[Block] = [Picture("class_accuracy", _between(dense), (chart,), caption)]
    if len(models) > 1:
        wide = data.per_class.pivot(index="class", columns="model", values="top1_pct")
        change = (wide[models[1]] - wide[BASELINE]).dropna().sort_values(kind="stable")
        named = ", ".join(f"{name} ({text.signed(points, 0)})" for name, points in change.head(3).items())
        sentence = f"{models[1]} against the baseline, lowest three in points: {named}; {images} images each."
        blocks.append(Paragraph(sentence))
    return blocks


def _between(rows: pd.DataFrame) -> str:
    """The spread between classes of one model."""
    ends = rows.sort_values(["top1_pct", "class"]).iloc[[0, -1]]
    worst, best = (f"{text.number(row['top1_pct'], 0)} % ({row['class']})" for _, row in ends.iterrows())
    return f"{rows['model'].iloc[0]}: from {worst} to {best}"


def _provenance(data: Tables) -> list[Block]:
    """Data, versions, every parameter, and the headline that reviewers compare; the long tables folded away."""
    settings = _written(data.params)
    return [
        Paragraph(MADE),
        Table(("Data", "Value"), tuple(_images(data)), caption="Choices were made on validation images alone."),
        Table(("Software", "Version"), tuple(_versions())),
        Table(("Parameter", "Value"), settings, folded=f"All {len(settings)} parameters (params.yaml)"),
        Table(("Number", "Value"), _written(data.headline), folded="Headline numbers (what dvc metrics diff compares)"),
    ]


def _images(data: Tables) -> Iterator[tuple[str, str]]:
    meta, counts = data.meta, data.meta.get("counts", {})
    yield "Source", str(meta.get("source", data.params.get("data", {}).get("source", text.MISSING)))
    yield "Classes", str(data.per_class["class"].nunique())
    yield "Stored size, px", str(meta.get("image_size", text.MISSING))
    for part in ("train", "validation"):
        yield f"{part.capitalize()} images", f"{counts[part]:,}" if part in counts else text.MISSING
    yield "Held-out images", f"{int(data.baseline['n']):,}"
    yield "Checksum", str(meta.get("checksum") or text.MISSING)
    yield "Models", str(len(data.models))


def _versions() -> Iterator[tuple[str, str]]:
    yield "Python", platform.python_version()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


def _written(values: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((key, text.MISSING if value is None else str(value)) for key, value in params.leaves(values))


SECTIONS = {"details": (90, details)}
