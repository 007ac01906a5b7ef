"""What to use: the recommended model and the front it stands in, how fast models are, and the exported files."""

from __future__ import annotations

from typing import Any

import pandas as pd

from deepcompress.report import figures, queries, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.claims import paragraphs
from deepcompress.report.tables import BASELINE, BYTES_PER_MIB, Tables

FRONT = (
    "Filled: no other model is at least as good in accuracy, bytes and MACs and better in one. Dashed: the lowest "
    "accuracy that is allowed. Bars: 95 % Wilson intervals."
)
SPEED = (
    "Medians; bars from quartile to quartile. All models and engines took turns, {n} rounds after {warm_up}. "
    "{processor}, {threads} of {cores} threads; PyTorch {torch}, ONNX Runtime {onnxruntime}. Dashed: the "
    "dense float model."
)
LATENCY = (
    "Latency of one call: median (quartiles). Last column: the source report's way, the mean of 50 runs of one "
    "image in PyTorch without warm-up. These numbers belong to the machine and change from run to run."
)
FIGURE_8 = (
    "Counterpart of Figure 8 (time) of the source report: its times are means of 50 runs of 25 % zeros on another "
    "machine."
)


def recommendation(data: Tables) -> Section | None:
    """The recommended model, why, and the Pareto front; chosen on validation images. None while nothing was chosen."""
    rows, note = data.extra.get("recommendation"), data.notes.get("recommendation")
    if rows is None or note is None or rows.empty:
        return None
    rows = data.named(rows)
    blocks: list[Block] = [Paragraph(note["reason"], strong=True), Paragraph(_heldout(data, note))]
    if len(rows) > 1:
        lowest = note["validation"]["baseline_top1_pct"] - note["limits"]["max_drop_points"]
        finding = f"{note['model']} is the smallest allowed (n = {note['n']:,} validation images)"
        figure = figures.recommendation(rows, note["model"], lowest, finding)
        blocks.append(Picture("recommendation", figure, FRONT))
    front, excluded = rows[rows["on_front"]].sort_values(["size_mib", "model"]), rows[~rows["allowed"]]
    blocks.append(_choices(front, caption=f"The Pareto front of accuracy, bytes and MACs; n = {note['n']:,}."))
    if not excluded.empty:
        blocks.append(_choices(excluded, folded=f"{text.count(len(excluded), 'model')} not allowed, and why"))
    return Section("The recommended model", tuple(blocks))


def _heldout(data: Tables, note: dict[str, Any]) -> str:
    """What the held-out images say of the choice that they had no part in."""
    runner_up = f" The runner-up is {note['runner_up']}." if note["runner_up"] else ""
    rows = data.models[data.models["model"] == note["model"]]
    if rows.empty:
        return f"It was not measured on the held-out images.{runner_up}"
    row = rows.iloc[0]
    points = text.difference(row)
    beside = "" if points == text.MISSING else f", {points} points to the baseline"
    chosen = f"On the {int(row['n']):,} held-out images, which it was not chosen on"
    return f"{chosen}: {text.accuracy(row)} %{beside}.{runner_up}"


def _choices(rows: pd.DataFrame, *, caption: str = "", folded: str = "") -> Table:
    columns = {
        "Model": list(rows["model"]),
        "Validation top-1 % (95 %)": [text.interval(row, "validation_top1_pct") for _, row in rows.iterrows()],
        "Points lost (95 %)": [_lost(row) for _, row in rows.iterrows()],
        "MiB": [text.number(value, 2) for value in rows["size_mib"]],
        "Million MACs": [text.number(value, 2) for value in rows["macs_million"]],
        "Allowed": ["yes" if row["allowed"] else str(row["why_not"]) for _, row in rows.iterrows()],
    }
    return Table.of(columns, caption, folded)


def _lost(row: pd.Series) -> str:
    points = text.number(row["drop_points"])
    if pd.isna(row["drop_points_low"]):
        return points
    return f"{points} ({text.signed(row['drop_points_low'])} to {text.signed(row['drop_points_high'])})"


def speed(data: Tables) -> Section | None:
    """What zeros, removed channels and integers bring on the machine that ran this; None where nothing was timed."""
    rows, machine = queries.latency(data), data.notes.get("benchmark/machine")
    if rows.empty or machine is None:
        return None
    sentences = speed_findings(rows)
    caption = SPEED.format(n=int(rows["n"].iloc[0]), **machine)
    figure = figures.speed(rows, sentences[0] if sentences else "How long a call takes")
    blocks: list[Block] = [Paragraph(sentence, strong=True) for sentence in sentences]
    blocks.append(Picture("speed", figure, caption))
    if least := queries.least_pruned(rows):
        blocks += [*paragraphs(data, "Figure 8 (time)"), _beside_figure_8(data, least)]
    return Section("Speed", (*blocks, _latencies(rows)))


def speed_findings(rows: pd.DataFrame) -> list[str]:
    """A measured sentence for each model that is said to be fast for a reason, at every batch size.

    Args:
        rows: Of `queries.latency`; what was not timed is left out.
    """
    pruned = rows["family"] == "pruned"
    claims = {
        "Zeros alone": rows[pruned & (rows["method"] == "unstructured") & (rows["engine"] == queries.FLOAT)],
        "Removed channels": rows[pruned & (rows["method"] == "structured") & (rows["engine"] == queries.FLOAT)],
        "int8": rows[(rows["model"] == BASELINE) & (rows["engine"] == queries.INT8)],
        "int4": rows[(rows["family"] == "quantized") & (rows["engine"] == queries.INT4)],
    }
    sentences = []
    for reason, timed in claims.items():
        for model, of_model in timed.sort_values(["sparsity", "model", "batch_size"]).groupby("model", sort=False):
            parts = [
                f"{text.times(row['speedup'])} at batch {row['batch_size']}"
                + ("" if row["differs"] else " (no significant difference)")
                for _, row in of_model.iterrows()
            ]
            sentences.append(f"{reason} ({model}) in ONNX Runtime: {', '.join(parts)}.")
    return sentences


def _beside_figure_8(data: Tables, least: dict[str, pd.Series]) -> Table:
    """The source report's times of one image in PyTorch, of 25 % zeros, beside our least pruned models."""
    theirs = data.paper["inference_ms"]
    columns = {
        "Model": list(least),
        "Source report: ms": [text.number(theirs[method], 2) for method in least],
        "Here": [str(row["model"]) for row in least.values()],
        "Here: ms (quartiles)": [_milliseconds(row) for row in least.values()],
        "Source report: times as fast": [f"{text.number(theirs[BASELINE] / theirs[method], 2)}×" for method in least],
        "Here: times as fast": [f"{text.number(row['speedup'], 2)}×" for row in least.values()],
    }
    return Table.of(columns, FIGURE_8)


def _latencies(rows: pd.DataFrame) -> Table:
    sizes = sorted(rows["batch_size"].unique())
    heads = ("Model", "Engine", *(f"Batch {size}, ms" for size in sizes), *(f"Times as fast, {s}" for s in sizes))
    cells = []
    for (model, engine), timed in rows.groupby(["model", "engine"], sort=False):
        by_size, alone = timed.set_index("batch_size"), timed["paper_protocol_ms"].dropna()
        medians = [_milliseconds(by_size.loc[size]) for size in sizes]
        speeds = [text.times(by_size.loc[size, "speedup"]) for size in sizes]
        mean = text.number(alone.iloc[0], 2) if len(alone) else text.MISSING
        cells.append((str(model), queries.ENGINES[str(engine)], *medians, *speeds, mean))
    return Table((*heads, "50 runs, ms"), tuple(cells), LATENCY)


def _milliseconds(row: pd.Series) -> str:
    """A median with its quartiles."""
    middle, low, high = (text.number(row[f"latency_ms_{part}"], 2) for part in ("p50", "p25", "p75"))
    return f"{middle} ({low} to {high})"


def exported(data: Tables) -> Section | None:
    """Whether each exported file answers as the model that it was made from, on the same held-out images."""
    rows = data.extra.get("deploy/parity")
    if rows is None or rows.empty:
        return None
    columns = {
        "File": list(rows["file"]),
        "Model": list(rows["model"]),
        "Weights": list(rows["kind"]),
        "Size, MiB": [text.number(size / BYTES_PER_MIB, 2) for size in rows["size_bytes"]],
        "Same answer, %": [text.number(share, 2) for share in rows["agreement_pct"]],
        "Largest difference of a logit": [f"{difference:.2g}" for difference in rows["largest_difference"]],
        "Top-1, %": [text.number(top1) for top1 in rows["top1_pct"]],
    }
    worst = rows.sort_values("agreement_pct", kind="stable").iloc[0]
    recommended = rows.loc[rows["file"] == "model.onnx", "model"].iloc[0]
    best = rows[rows["model"] == recommended].sort_values("size_bytes", kind="stable").iloc[0]
    finding = (
        f"The smallest of the recommended model, {best['file']} ({best['model']}, {best['kind']}), takes "
        f"{text.number(best['size_bytes'] / BYTES_PER_MIB, 2)} MiB and gets {text.number(best['top1_pct'])} % right; "
        f"of all files, {worst['file']} agrees least with its model: {text.number(worst['agreement_pct'])} % of the "
        "answers are the same."
    )
    caption = f"Against the same model in PyTorch, on {text.count(int(rows['n'].iloc[0]), 'held-out image')}."
    return Section("Files to deploy", (Paragraph(finding, strong=True), Table.of(columns, caption)))


SECTIONS = {"recommendation": (1, recommendation), "speed": (62, speed), "deploy": (80, exported)}
