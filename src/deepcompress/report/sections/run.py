"""What it runs like: what zeros, removed channels and integers bring on the machine that ran this."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import charts, queries, text
from deepcompress.report.blocks import Block, Column, Paragraph, Picture, Section, Table
from deepcompress.report.tables import BASELINE, Tables

SPEED = (
    "Medians; bars from quartile to quartile. All models and engines took turns, {n} rounds after {warm_up}. "
    "{processor}, {threads} of {cores} threads. Dashed: the dense float model, in PyTorch beside PyTorch, else in ONNX "
    "Runtime."
)
LATENCY = (
    "A row per model, engine and images per call: median (quartiles). Last column: the source report's way, the mean "
    "of 50 runs of one image in PyTorch without warm-up. These numbers belong to the machine and differ run by run."
)
ALL = "Latency of every model and engine"
COLUMNS: dict[str, Column] = {
    "Model": "model",
    "Engine": lambda row: queries.ENGINES.get(row["engine"], str(row["engine"])),
    "Images per call": ("batch_size", 0),
    "ms (quartiles)": lambda row: text.interval(row, "ms", 2),
    "Times as fast": lambda row: text.times(row["speedup"]),
    "50 runs, ms": ("paper_protocol_ms", 2),
}


def run(data: Tables) -> Section | None:
    """None where nothing was timed."""
    rows, machine = queries.latency(data), data.notes.get("benchmark/machine")
    if rows.empty or machine is None:
        return None
    quartiles = {"ms": "p50", "ms_low": "p25", "ms_high": "p75"}
    rows = rows.assign(**{name: rows[f"latency_ms_{part}"] for name, part in quartiles.items()})
    sentences = speed_findings(rows)
    caption = SPEED.format(n=int(rows["n"].iloc[0]), **machine)
    title = "How fast each model is, beside the dense float model in the same engine"
    blocks: list[Block] = [Paragraph(sentence, strong=True) for sentence in sentences]
    blocks += [Picture("speed", title, _panels(rows), caption, across=2), Table.of(rows, COLUMNS, LATENCY, ALL)]
    return Section("What it runs like", tuple(blocks))


def _panels(rows: pd.DataFrame) -> tuple[charts.Spec, ...]:
    """Speed against the dense float model in the same engine, a panel per batch size."""
    low, high = (rows["dense_ms_p50"] / rows[f"latency_ms_{part}"] for part in ("p75", "p25"))
    engines = rows["engine"].map(queries.ENGINES).fillna(rows["engine"])
    drawn = rows.assign(speedup_low=low, speedup_high=high, engine=engines, name=rows["model"])
    return tuple(
        charts.dots(timed, "speedup", f"times as fast, {size} image(s) per call", series="engine",
                    levels={"dense": 1.0}, low=0)
        for size, timed in drawn.groupby("batch_size")
    )  # fmt: skip


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
                + ("" if row["differs"] else " (quartiles overlap)")
                for _, row in of_model.iterrows()
            ]
            sentences.append(f"{reason} ({model}) in ONNX Runtime: {', '.join(parts)}.")
    return sentences


SECTIONS = {"speed": (60, run)}
