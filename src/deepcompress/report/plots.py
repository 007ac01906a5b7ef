"""The tables behind DVC's own plots, the library that draws them offline, and each figure of the report as a file."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from deepcompress import files
from deepcompress.report import charts, queries
from deepcompress.report.blocks import Section
from deepcompress.report.tables import TEACHERS, Tables

MODEL_COLUMNS = (
    "series", "model", "size_mib", "top1_pct", "top1_pct_low", "top1_pct_high",
    "difference_points", "difference_points_low", "difference_points_high",
)  # fmt: skip
PRUNING_COLUMNS = ("series", "sparsity_pct", "top1_pct", "top1_pct_low", "top1_pct_high")
BITS_COLUMNS = ("series", "bits", "validation_top1_pct", "output_error_relative")
STUDENT_COLUMNS = ("series", "student", "top1_pct", "top1_pct_low", "top1_pct_high")
HISTORY_COLUMNS = ("series", "epoch", "validation_top1_pct", "validation_loss", "train_loss", "learning_rate")
LIBRARY = "vega.js"  # what .dvc/plots/page.html loads
log = logging.getLogger(__name__)


def write(folder: Path, data: Tables, sections: Iterable[Section]) -> None:
    """Write a table per plot of dvc.yaml, vega.js and figures/<name>.png; remove the figures of a former run."""
    for name, table in TABLES.items():
        files.write_csv(folder / f"{name}.csv", table(data))
    files.write_text(folder / LIBRARY, charts.vega_script())
    pictures = {picture.name: picture for section in sections for picture in section.pictures}
    for old in (folder / "figures").glob("*.png"):
        if old.stem not in pictures:
            old.unlink()
    if missing := charts.unreadable("".join(data.per_class["class"].unique())):
        where = folder / "figures"
        log.warning("no font of this machine has %s: boxes in %s, letters in the page", missing[:20], where)
    for name, picture in pictures.items():
        files.write_bytes(folder / "figures" / f"{name}.png", charts.png(picture, missing))


def models(data: Tables) -> pd.DataFrame:
    """Accuracy and size of each model; its series, which DVC colours by, is its family."""
    frame = data.models.assign(series=data.models["family"], size_mib=data.models["size_mib"].round(4))
    return frame[list(MODEL_COLUMNS)]


def history(data: Tables) -> pd.DataFrame:
    """Every epoch of every run; the series is the model."""
    return data.history.rename(columns={"model": "series"})[list(HISTORY_COLUMNS)]


def pruning(data: Tables) -> pd.DataFrame:
    """Accuracy of each pruned and fine-tuned model, by sparsity; the series is the method."""
    curves = [queries.curve(data, "pruned", method).assign(series=method) for method in queries.METHODS]
    frame = pd.concat(curves).assign(sparsity_pct=lambda rows: 100 * rows["sparsity"])
    return frame.sort_values(["series", "sparsity_pct"])[list(PRUNING_COLUMNS)]


def bits(data: Tables) -> pd.DataFrame:
    """Validation accuracy and error of the logits by width, rounded after training; the series shares a scale."""
    rows = data.extra.get("bits/points", pd.DataFrame(columns=["granularity", *BITS_COLUMNS[1:]]))
    return rows.rename(columns={"granularity": "series"})[list(BITS_COLUMNS)]


def students(data: Tables) -> pd.DataFrame:
    """Accuracy of each student; the series is its teacher, or `none`."""
    rows = queries.students(data)
    teachers = data.of(TEACHERS).set_index("model")["name"]
    frame = rows.assign(series=rows["teacher"].map(teachers).fillna("none"), student=rows["name"])
    return frame[list(STUDENT_COLUMNS)]


TABLES = {"models": models, "history": history, "pruning": pruning, "bits": bits, "students": students}
