"""The tables behind DVC's own plots, and the file that each figure of the report becomes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deepcompress import files
from deepcompress.report import style

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from deepcompress.report.blocks import Section
    from deepcompress.report.tables import Tables

MODEL_COLUMNS = (
    "series", "model", "size_mib", "top1_pct", "top1_pct_low", "top1_pct_high",
    "difference_points", "difference_points_low", "difference_points_high",
)  # fmt: skip
HISTORY_COLUMNS = ("series", "epoch", "validation_top1_pct", "validation_loss", "train_loss", "learning_rate")


def write(folder: Path, data: Tables, sections: Iterable[Section]) -> None:
    """Write models.csv, history.csv and figures/<name>.png, and remove the figures of a former run."""
    files.write_csv(folder / "models.csv", models(data))
    files.write_csv(folder / "history.csv", history(data))
    pictures = {picture.name: picture for section in sections for picture in section.pictures}
    for old in (folder / "figures").glob("*.png"):
        if old.stem not in pictures:
            old.unlink()
    with style.context():
        for name, picture in pictures.items():
            files.write_figure(folder / "figures" / f"{name}.png", picture.figure)


def models(data: Tables) -> pd.DataFrame:
    """Accuracy and size of each model; its series, which DVC colours by, is its family."""
    frame = data.models.assign(series=data.models["family"], size_mib=data.models["size_mib"].round(4))
    return frame[list(MODEL_COLUMNS)]


def history(data: Tables) -> pd.DataFrame:
    """Every epoch of every run; the series is the model."""
    return data.history.rename(columns={"model": "series"})[list(HISTORY_COLUMNS)]
