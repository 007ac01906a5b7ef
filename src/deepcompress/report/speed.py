"""What the benchmark's table says of zeros, of removed channels and of integers, and its figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import style, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

PYTORCH, FLOAT, INT8, INT4 = "pytorch", "onnxruntime", "onnxruntime-int8", "onnxruntime-int4"
ENGINES = {PYTORCH: "PyTorch, float32"} | {
    engine: f"ONNX Runtime, {kind}" for engine, kind in ((FLOAT, "float32"), (INT8, "int8"), (INT4, "int4"))
}
MARKS = {
    PYTORCH: ("o", style.GREY),
    FLOAT: ("s", style.BLUE),
    INT8: ("D", style.COLOURS["quantized"]),
    INT4: ("v", style.COLOURS["combined"]),
}
ROW_INCHES = 0.3
BASELINE, METHODS = "baseline", ("unstructured", "structured")
APART = "told apart from it by their quartiles"


def findings(rows: pd.DataFrame) -> list[str]:
    """A measured sentence for each thing that is said to bring speed; what was not timed is left out."""
    said = [
        *_sentences(rows, "pruned/unstructured-", FLOAT, "Zeros alone"),
        *_sentences(rows, "pruned/structured-", FLOAT, "Removed channels"),
        *_sentences(rows, BASELINE, INT8, "int8"),
        *_sentences(rows, "quantized/", INT4, "int4"),
    ]
    return said


def least_pruned(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """One image's times in PyTorch: the baseline's, and those of the least pruned model of each method.

    Args:
        rows: Of results/benchmark/latency.csv.

    Returns:
        By `baseline` and method; nothing where no pruned model was timed.
    """
    if rows.empty:
        return {}
    some = rows[(rows["engine"] == PYTORCH) & (rows["batch_size"] == 1)]
    dense = some[some["model"] == BASELINE]
    found = {method: some[some["model"].str.startswith(f"pruned/{method}-")] for method in METHODS}
    ours = {method: kind.sort_values("model").iloc[0] for method, kind in found.items() if not kind.empty}
    return {BASELINE: dense.iloc[0], **ours} if len(dense) and ours else {}


def beside_the_paper(rows: pd.DataFrame, theirs: Mapping[str, float]) -> tuple[str, str, tuple[tuple[str, ...], ...]]:
    """Figure 8's times of one image in PyTorch beside ours: its words, ours, and a row per model that both have.

    The source report's models have 25 % zeros; of ours the least pruned one that was timed stands for each method.

    Args:
        rows: Of results/benchmark/latency.csv.
        theirs: Milliseconds by `baseline` and method.

    Returns:
        Nothing of ours where no pruned model was timed.
    """
    timed = least_pruned(rows)
    cells, said, faster = [], [], {method: theirs[BASELINE] / theirs[method] for method in (BASELINE, *METHODS)}
    for method, row in timed.items():
        spelled = (f"{text.number(value, 2)}×" for value in (faster[method], row["speedup"]))
        cells.append((method, text.number(theirs[method], 2), str(row["model"]), milliseconds(row), *spelled))
    for row in list(timed.values())[1:]:
        way = "faster" if row["speedup"] > 1 else "slower"
        verdict = f"is {way}, {APART}" if told_apart(rows, row) else "is not told apart from the baseline"
        said.append(f"{row['model']} {verdict} ({text.number(row['speedup'], 2)}×)")
    paper = ", ".join(f"{text.number(faster[method], 2)}× ({method})" for method in METHODS)
    opening = f"25 % zeros are {paper} as fast as the baseline, without quartiles, one image at a time in PyTorch"
    return opening, "; ".join(said), tuple(cells)


def told_apart(rows: pd.DataFrame, row: pd.Series) -> bool:
    """Whether the quartiles of a row and of the dense float model in the same engine lie apart."""
    dense = _dense(rows, row)
    return bool(row["latency_ms_p75"] < dense["latency_ms_p25"] or row["latency_ms_p25"] > dense["latency_ms_p75"])


def milliseconds(row: pd.Series) -> str:
    """A median with its quartiles, as the tables write it."""
    middle, low, high = (text.number(row[f"latency_ms_{part}"], 2) for part in ("p50", "p25", "p75"))
    return f"{middle} ({low} to {high})"


@style.styled
def figure(rows: pd.DataFrame, finding: str) -> Figure:
    """Speed against the dense float model in the same engine, a panel per batch size; bars from quartile to quartile.

    Args:
        rows: Of results/benchmark/latency.csv.
        finding: What the numbers say, for the title.
    """
    models = list(dict.fromkeys(rows["model"]))
    sizes = sorted(rows["batch_size"].unique())
    made, grid = style.grid(finding, len(sizes), 1, height=0.9 + len(sizes) * (0.8 + ROW_INCHES * len(models)))
    for axes, size in zip(grid, sizes, strict=True):
        axes.axvline(1, ls="--", lw=1, color=style.MUTED, zorder=1)
        for shift, (engine, (mark, colour)) in enumerate(MARKS.items()):
            some = rows[(rows["batch_size"] == size) & (rows["engine"] == engine)]
            at = [models.index(model) + 0.18 * (shift - 1.5) for model in some["model"]]
            dense = [float(_dense(rows, row)["latency_ms_p50"]) for _, row in some.iterrows()]
            low, high = (dense / some[f"latency_ms_{part}"] for part in ("p75", "p25"))
            axes.hlines(at, low, high, color=colour, lw=2)
            axes.plot(some["speedup"], at, mark, ms=5.5, color=colour, mec=style.INK, mew=0.5, label=ENGINES[engine])
        axes.set(yticks=range(len(models)), yticklabels=models, xlabel=f"times as fast, {size} image(s) per call")
        axes.invert_yaxis()
        axes.set_xlim(left=0)
    handles = dict(zip(*reversed(grid[0].get_legend_handles_labels()), strict=True))
    made.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=2, handletextpad=0.3)
    return made


def _sentences(rows: pd.DataFrame, prefix: str, engine: str, what: str) -> list[str]:
    """One for each model of a kind, at every batch size, the least pruned first."""
    some = rows[rows["model"].str.startswith(prefix) & (rows["engine"] == engine)]
    said = []
    for model, of_model in some.sort_values(["model", "batch_size"]).groupby("model"):
        parts = [
            f"{text.times(row['speedup'])} at batch {row['batch_size']}"
            + ("" if told_apart(rows, row) else " (no difference)")
            for _, row in of_model.iterrows()
        ]
        said.append(f"{what} ({model}) in ONNX Runtime: {', '.join(parts)}.")
    return said


def _dense(rows: pd.DataFrame, row: pd.Series) -> pd.Series:
    engine = PYTORCH if row["engine"] == PYTORCH else FLOAT
    same = (rows["model"] == "baseline") & (rows["engine"] == engine) & (rows["batch_size"] == row["batch_size"])
    return rows[same].iloc[0]
