"""What to ship: the recommended model and why, its files, your own configuration, and chains of techniques."""

from __future__ import annotations

from typing import Any

import pandas as pd

from deepcompress.report import charts, queries, text
from deepcompress.report.tables import BASELINE, BYTES_PER_MIB, Tables
from deepcompress.report.text import Block, Column, Paragraph, Picture, Section, Table, fold, interval_of, models_part

CHOICE = "Named: the recommended model, the runner-up and the baseline. Dashed: the lowest accuracy that is allowed."
LOST = "Points lost: 95 % interval over images; how far another training would lie from this one it does not hold."
CHOICES: dict[str, Column] = {
    "Model": "model",
    "Validation top-1 % (95 %)": interval_of("validation_top1_pct"),
    "Points lost to baseline (95 %)": lambda row: _lost(row, "drop_points"),
    "to its control (95 %)": lambda row: _lost(row, "control_drop_points"),
    "MiB": ("size_mib", 2),
    "Million MACs": ("macs_million", 2),
    "Allowed": lambda row: "yes" if row["allowed"] else str(row["why_not"]),
}
FILES: dict[str, Column] = {
    "File": "file",
    "Model": "model",
    "Weights": "kind",
    "Size, MiB": lambda row: text.number(row["size_bytes"] / BYTES_PER_MIB, 2),
    "Same answer, %": ("agreement_pct", 2),
    "Largest difference of a logit": lambda row: f"{row['largest_difference']:.2g}",
    "Top-1, %": ("top1_pct", 1),
}


def ship(data: Tables) -> Section | None:
    """The choice, made on validation images; None while there is nothing to choose from."""
    blocks = [
        *_recommended(data),
        *_files(data),
        *fold("Your configuration (prune.*, quant.*)", "shipped", models_part(data, data.of("shipped"))),
        *fold("Chains of techniques", "combined", _combined(data)),
    ]
    return Section("What to ship", tuple(blocks)) if blocks else None


def _recommended(data: Tables) -> list[Block]:
    note = data.notes.get("recommendation")
    if note is None or data.choice.empty:
        return []
    rows = data.named(data.choice)
    blocks: list[Block] = [Paragraph(note["reason"], strong=True), Paragraph(_heldout(data, note))]
    if len(rows) > 1:
        lowest = note["validation"]["baseline_top1_pct"] - note["limits"]["max_drop_points"]
        title = f"{note['model']} is the smallest allowed (n = {note['n']:,} validation images)"
        drawn = rows.assign(front=False, named=rows["model"].isin((note["model"], note["runner_up"], BASELINE)))
        chart = charts.scatter(drawn, "size_mib", y="validation_top1_pct", limit=lowest)
        blocks.append(Picture("recommendation", title, (chart,), CHOICE))
    timed = {"ms in PyTorch": ("latency_ms", 2)} if rows["latency_ms"].notna().any() else {}
    front, excluded = rows[rows["on_front"]].sort_values(["size_mib", "model"]), rows[~rows["allowed"]]
    title = f"{text.count(len(front), 'model')} on the Pareto front of accuracy, bytes, MACs"
    why_not = Table.of(excluded, CHOICES, LOST, f"{text.count(len(excluded), 'model')} not allowed, and why")
    return [*blocks, Table.of(front, CHOICES | timed, LOST, title), *([] if excluded.empty else [why_not])]


def _heldout(data: Tables, note: dict[str, Any]) -> str:
    """What the held-out images say of the choice that they had no part in."""
    runner_up = f" The runner-up is {note['runner_up']}." if note["runner_up"] else ""
    rows = data.models[data.models["model"] == note["model"]]
    if rows.empty:
        return f"It was not measured on the held-out images.{runner_up}"
    row = rows.iloc[0]
    beside = "" if pd.isna(row["difference_points"]) else f", {text.change(row)}"
    chosen = f"On the {int(row['n']):,} held-out images, which it was not chosen on"
    return f"{chosen}: {text.accuracy(row)} %{beside}.{runner_up}"


def _lost(row: pd.Series, column: str) -> str:
    points, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(low):
        return text.number(points)
    return f"{text.number(points)} ({text.signed(low)} to {text.signed(high)})"


def _files(data: Tables) -> list[Block]:
    """Whether each exported file answers as the model that it was made from, on the same held-out images."""
    rows = data.further("deploy/parity")
    if rows.empty:
        return []
    worst = rows.sort_values("agreement_pct", kind="stable").iloc[0]
    recommended = rows.loc[rows["file"] == "model.onnx", "model"].iloc[0]
    best = rows[rows["model"] == recommended].sort_values("size_bytes", kind="stable").iloc[0]
    finding = (
        f"The smallest file of the recommended model, models/deploy/{best['file']} ({best['kind']}), takes "
        f"{text.number(best['size_bytes'] / BYTES_PER_MIB, 2)} MiB and gets {text.number(best['top1_pct'])} % right; "
        f"of all files, {worst['file']} agrees least with its model: {text.number(worst['agreement_pct'])} % of the "
        "answers are the same."
    )
    caption = f"Against the same model in PyTorch, on {text.count(int(rows['n'].iloc[0]), 'held-out image')}."
    return fold("Files to deploy", "deploy", [Paragraph(finding, strong=True), Table.of(rows, FILES, caption)])


def _combined(data: Tables) -> list[Block]:
    """Several techniques on one model, and what a teacher adds to the same steps without one."""
    rows = data.of("combined")
    gains = [
        f"{row['model']} against {row['control']}, which had no teacher: {text.difference(gain, phrase=True)} points"
        for _, row in rows.dropna(subset=["teacher"]).iterrows()
        if (gain := queries.pair(data, row["model"], row["control"])) is not None
    ]
    taught = [Paragraph("; ".join(gains) + ".")] if gains else []
    return [*models_part(data, rows), *taught]


SECTIONS = {"ship": (10, ship)}
