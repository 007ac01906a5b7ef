"""What it runs like: what zeros, removed channels and integers bring on the machine that ran this."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import charts, queries, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.tables import BASELINE, Tables

SPEED = (
    "Medians; bars from quartile to quartile. All models and engines took turns, {n} rounds after {warm_up}. "
    "{processor}, {threads} of {cores} threads; PyTorch {torch}, ONNX Runtime {onnxruntime}. Dashed: the "
    "dense float model in the same engine."
)
LATENCY = (
    "Latency of one call: median (quartiles). Last column: the source report's way, the mean of 50 runs of one "
    "image in PyTorch without warm-up. These numbers belong to the machine and change from run to run."
)
FIGURE_8 = "The source report's times are means of 50 runs of 25 % zeros on another machine."


def run(data: Tables) -> Section | None:
    """None where nothing was timed."""
    rows, machine = queries.latency(data), data.notes.get("benchmark/machine")
    if rows.empty or machine is None:
        return None
    sentences = speed_findings(rows)
    caption = SPEED.format(n=int(rows["n"].iloc[0]), **machine)
    title = "How fast each model is, beside the dense float model in the same engine"
    blocks: list[Block] = [Paragraph(sentence, strong=True) for sentence in sentences]
    blocks += [Picture("speed", title, _panels(rows), caption, across=2), _latencies(rows)]
    if least := queries.least_pruned(rows):
        blocks.append(_beside_figure_8(data, least))
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
    return Table.of(columns, FIGURE_8, folded="Beside the source report's times")


def _latencies(rows: pd.DataFrame) -> Table:
    sizes = sorted(rows["batch_size"].unique())
    heads = ("Model", "Engine", *(f"Batch {size}, ms" for size in sizes), *(f"Times as fast, {s}" for s in sizes))
    cells = []
    for (model, engine), timed in rows.groupby(["model", "engine"], sort=False):
        by_size, alone = timed.set_index("batch_size"), timed["paper_protocol_ms"].dropna()
        present = [by_size.loc[size] if size in by_size.index else None for size in sizes]
        medians = [text.MISSING if row is None else _milliseconds(row) for row in present]
        speeds = [text.MISSING if row is None else text.times(row["speedup"]) for row in present]
        mean = text.number(alone.iloc[0], 2) if len(alone) else text.MISSING
        cells.append((str(model), queries.ENGINES.get(str(engine), str(engine)), *medians, *speeds, mean))
    return Table((*heads, "50 runs, ms"), tuple(cells), LATENCY, folded="Latency of every model and engine")


def _milliseconds(row: pd.Series) -> str:
    """A median with its quartiles."""
    middle, low, high = (text.number(row[f"latency_ms_{part}"], 2) for part in ("p50", "p25", "p75"))
    return f"{middle} ({low} to {high})"


SECTIONS = {"speed": (60, run)}
