"""Exported files: whether each answers as the model does that it was made from, on the same held-out images."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import text
from deepcompress.report.blocks import Paragraph, Section, Table
from deepcompress.report.tables import BYTES_PER_MIB, Tables

TABLE = "deploy/parity"
MAIN = "model.onnx"
COLUMNS = ("File", "Model", "Weights", "Size, MiB", "Same answer, %", "Largest difference of a logit", "Top-1, %")


def build(data: Tables) -> Section | None:
    """One sentence and a row per file."""
    files = data.extra.get(TABLE)
    if files is None or files.empty:
        return None
    caption = f"Against the same model in PyTorch, on {text.count(int(files['n'].iloc[0]), 'held-out image')}."
    table = Table(COLUMNS, tuple(_cells(row) for _, row in files.iterrows()), caption)
    return Section("Files to deploy", (Paragraph(_finding(files), strong=True), table), order=80)


def _finding(files: pd.DataFrame) -> str:
    worst = files.sort_values("agreement_pct", kind="stable").iloc[0]
    handed = files.loc[files["file"] == MAIN, "model"].iloc[0]
    main = files[files["model"] == handed].sort_values("size_bytes", kind="stable").iloc[0]
    size = text.number(main["size_bytes"] / BYTES_PER_MIB, 2)
    return (
        f"The smallest of the recommended model, {main['file']} ({main['model']}, {main['kind']}), takes {size} "
        f"MiB and gets {text.number(main['top1_pct'])} % right; of all files, {worst['file']} strays furthest from its "
        f"model: {text.number(worst['agreement_pct'])} % of the answers are the same."
    )


def _cells(row: pd.Series) -> tuple[str, ...]:
    size, difference = row["size_bytes"] / BYTES_PER_MIB, row["largest_difference"]
    return (
        row["file"], row["model"], row["kind"], text.number(size, 2), text.number(row["agreement_pct"], 2),
        f"{difference:.2g}", text.number(row["top1_pct"]),
    )  # fmt: skip
