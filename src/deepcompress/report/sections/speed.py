"""Speed: what zeros, removed channels and int8 bring on the machine that ran the pipeline."""

from __future__ import annotations

import pandas as pd

from deepcompress.report import speed, text
from deepcompress.report.blocks import Block, Paragraph, Picture, Section, Table
from deepcompress.report.claims import paragraphs
from deepcompress.report.tables import BASELINE, Tables

NAME = "benchmark/latency"
CAPTION = (
    "Medians; bars from quartile to quartile. All models and engines took turns, {n} rounds after {warm_up}. "
    "{processor}, {threads} of {cores} threads; PyTorch {torch}, ONNX Runtime {onnxruntime}. Dashed: the "
    "dense float model."
)
TABLE = (
    "Latency of one call: median (quartiles). Last column: the source report's way, the mean of 50 runs of one "
    "image in PyTorch without warm-up. These numbers belong to the machine and change from run to run."
)

PAPER_HEADS = (
    "Model", "Source report: ms", "Here", "Here: ms (quartiles)", "Source report: times as fast", "Here: times as fast",
)  # fmt: skip
PAPER = (
    "Counterpart of Figure 8 (time) of the source report: its times are means of 50 runs of 25 % zeros on another "
    "machine."
)


def build(data: Tables) -> Section | None:
    """Findings, figure and table; None where nothing was timed."""
    rows, machine = data.extra.get(NAME), data.notes.get("benchmark/machine")
    if rows is None or rows.empty or machine is None or BASELINE not in set(rows["model"]):
        return None
    said = speed.findings(rows)
    title = said[0] if said else "How long a call takes"
    caption = CAPTION.format(n=int(rows["n"].iloc[0]), **machine)
    blocks: list[Block] = [Paragraph(sentence, strong=True) for sentence in said]
    blocks.append(Picture("speed", speed.figure(rows, title), caption))
    *_, cells = speed.beside_the_paper(rows, data.paper["inference_ms"])
    if cells:
        blocks += [*paragraphs(data, "Figure 8 (time)"), Table(PAPER_HEADS, cells, PAPER)]
    return Section("Speed", (*blocks, _table(rows)), order=62)


def _table(rows: pd.DataFrame) -> Table:
    sizes = sorted(rows["batch_size"].unique())
    heads = (
        "Model",
        "Engine",
        *(f"Batch {size}, ms" for size in sizes),
        *(f"Times as fast, {s}" for s in sizes),
        "50 runs, ms",
    )
    cells = []
    for (model, engine), some in rows.groupby(["model", "engine"], sort=False):
        by_size = some.set_index("batch_size")
        times = [speed.milliseconds(by_size.loc[size]) for size in sizes]
        speeds = [text.times(by_size.loc[size, "speedup"]) for size in sizes]
        alone = some["paper_protocol_ms"].dropna()
        cells.append(
            (
                str(model),
                speed.ENGINES[str(engine)],
                *times,
                *speeds,
                text.number(alone.iloc[0], 2) if len(alone) else text.MISSING,
            )
        )
    return Table(heads, tuple(cells), TABLE)
