"""What the measured tables hold of each technique, as rows and numbers: what sections and claims are made of.

Models are chosen by the plan's columns, which every row of the evaluation has; see plan_table.PlannedModel.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from deepcompress.measure.statistics import wilson_interval
from deepcompress.report.tables import BASELINE, TEACHERS, Tables, between

METHODS = ("unstructured", "structured")  # of pruning
SPARSITY = 0.25  # the source report's
DRAWN = (0.5, SPARSITY)  # it draws the weights at 50 %; what the sweep lacks is drawn at 25 %
NEAR = 0.5  # standard deviations of the dense layer: how far from zero its mean may lie
# Near zero, and a border of bins: of the range that holds all but the largest thousandth of a dense layer.
INNER = 1 / 6
OVERALL = "Overall"
MODES, FLOATS = ("ptq", "qat"), ("fp32", "fp16", "bf16")
PYTORCH, FLOAT, INT8, INT4 = "pytorch", "onnxruntime", "onnxruntime_int8", "onnxruntime_int4"
ENGINES = {PYTORCH: "PyTorch, float32", FLOAT: "ONNX Runtime, float32",
           INT8: "ONNX Runtime, int8", INT4: "ONNX Runtime, int4"}  # fmt: skip
OWN, TOTAL = "training_tera_macs", "training_tera_macs_total"
NOT_COMPRESSED = (BASELINE, TEACHERS)
ALONE = "students alone"
TEXT_ROUNDING = 1e-9  # of numbers read from text


def with_interval(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows with `<column>_low` and `<column>_high`, the 95 % Wilson interval of a share of their `n` images [%]."""
    right = (rows[column] * rows["n"] / 100).round().astype(int)
    ends = [wilson_interval(int(hits), int(n)) for hits, n in zip(right, rows["n"], strict=True)]
    return rows.assign(**{f"{column}_{end}": [100 * pair[i] for pair in ends] for i, end in enumerate(("low", "high"))})


# Pruning.


def curve(data: Tables, family: str, method: str) -> pd.DataFrame:
    """The models of one method in the sweep, by rising sparsity; at 0 the one that both methods start from.

    Of the family `masked`, before fine-tuning, that is the baseline, and of `pruned` the control: trained as long,
    nothing pruned.
    """
    rows = data.of(family)
    swept = rows[(rows["method"] == method) & (rows["name"] != "shipped")].dropna(subset=["sparsity"])
    start = data.of("baseline").assign(sparsity=0.0) if family == "masked" else rows[rows["method"].isna()]
    return pd.concat([start, swept]).sort_values("sparsity") if len(swept) else swept


def at(data: Tables, family: str, method: str, sparsity: float = SPARSITY) -> pd.Series | None:
    """One model of a curve, or None when the sweep has no such sparsity."""
    rows = curve(data, family, method)
    rows = rows[(rows["sparsity"] - sparsity).abs() < TEXT_ROUNDING]
    return None if rows.empty else rows.iloc[0]


def extra(data: Tables, kind: str, method: str, sparsity: float = SPARSITY) -> pd.DataFrame | None:
    """A table that the sweep wrote beside one model: `allocation`, `weights` or `storage`."""
    row = at(data, "pruned", method, sparsity)
    return None if row is None else data.extra.get(f"{kind}/{row['model']}")


def source_layers(data: Tables, layers: Iterable[str]) -> dict[str, str]:
    """Our layers -> the source report's, which has no batch norm: the n-th convolution is the n-th convolution."""
    theirs = [list(data.paper["pruned"][method]["assigned"]) for method in METHODS]
    ours = [layer for layer in layers if layer != OVERALL]
    return next((dict(zip(ours, names, strict=True)) for names in theirs if len(names) == len(ours)), {})


def histograms(data: Tables, method: str) -> tuple[pd.DataFrame, float] | None:
    """The histograms of weights of one pruned model and its sparsity; None where the sweep has none to draw."""
    found = ((extra(data, "weights", method, sparsity), sparsity) for sparsity in DRAWN)
    return next(((rows, sparsity) for rows, sparsity in found if rows is not None), None)


def near_zero_pct(rows: pd.DataFrame, state: str) -> float:
    """Of the weights of a state that are not zero, the share in the inner INNER of their layer's range [%].

    `rows` are histograms of one pruned model, whose states are `dense` and `masked`; zeros are not in `count`.
    """
    bins = rows[rows["state"] == state]
    widest = bins.groupby("layer")["high"].transform("max")
    near = ((bins["low"] + bins["high"]) / 2).abs() < INNER * widest
    return float(100 * bins.loc[near, "count"].sum() / bins["count"].sum())


def furthest_from_zero(rows: pd.DataFrame) -> tuple[str, float]:
    """The dense layer whose mean lies furthest from zero, and how far: in its own standard deviations."""
    distances = {layer: abs(mean) / deviation for layer, (mean, deviation) in _moments(rows).items() if deviation > 0}
    return max(distances.items(), key=lambda item: item[1])


def _moments(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each dense layer's weights, from the middles of the bins."""
    found = {}
    for layer, bins in rows[rows["state"] == "dense"].groupby("layer", sort=False):
        middle, n = (bins["low"] + bins["high"]) / 2, bins["count"].sum()
        mean = (middle * bins["count"]).sum() / n
        found[str(layer)] = float(mean), float((((middle - mean) ** 2 * bins["count"]).sum() / n) ** 0.5)
    return found


# Quantization.


def by_format(data: Tables) -> pd.DataFrame:
    """The quantized models of both modes, floats first, then integers of falling width; no format means fp32."""

    def place(name: str) -> tuple[int, int]:
        width = name.removeprefix("int")
        return (0, FLOATS.index(name)) if name in FLOATS else (1, -int(width) if width.isdigit() else 0)

    rows = data.of("quantized").fillna({"format": "fp32"})
    rows = rows[rows["method"].isin(MODES)]
    return rows.sort_values("format", key=lambda column: column.map(place), kind="stable")


def of_models(data: Tables, kind: str, models: pd.Series) -> pd.DataFrame:
    """The tables that a stage wrote beside some models, such as `rounding`, under each other; empty without any."""
    found = {model: f"{kind}/{model}" for model in models}
    rows = [data.extra[name].assign(model=model) for model, name in found.items() if name in data.extra]
    return data.named(pd.concat(rows, ignore_index=True)) if rows else pd.DataFrame()


def joined(rows: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Rows whose models are in both tables, with the columns of the other one that they lack."""
    own = [name for name in others if name == "model" or name not in rows]
    return rows.merge(others[own], on="model")


# Students, and what the explain stage saw.


def students(data: Tables) -> pd.DataFrame:
    """The students' rows, controls first; their `difference` is that to the independent student."""
    rows = data.of("students")
    rows = rows.assign(difference=between(data.differences, rows, rows["control"]))
    return rows.assign(teacher=rows["teacher"].fillna("")).sort_values(["teacher", "method"], ignore_index=True)


def independent(data: Tables) -> str | None:
    """Id of the student that all others are compared with: trained alone, on labels."""
    rows = data.of("students")
    controls = rows.loc[rows["model"].isin(rows["control"]), "model"]
    return None if controls.empty else str(controls.iloc[0])


def explained(data: Tables, name: str) -> pd.DataFrame:
    """A table of the explain stage, such as `alignment`, with the plan's columns; empty when it did not run."""
    rows = data.further(f"explain/{name}")
    return data.named(rows) if "model" in rows else rows


def strips(data: Tables) -> pd.DataFrame:
    """The maps to draw, a row per model and image; empty without the images that they lie over."""
    rows = explained(data, "strips")
    return rows.head(0) if explained(data, "strip_images").empty else rows


def alignment(data: Tables, teacher: str) -> pd.DataFrame:
    """What students of a teacher, and the controls, share with it: answers and, if seen, the finest layer's maps."""
    rows, maps = (data.further(f"explain/{name}") for name in ("alignment", "attention"))
    if rows.empty:
        return rows
    if not maps.empty:
        finest = maps[maps["role"] == maps["role"].iloc[0]].drop(columns=["n"])
        rows = rows.merge(finest, on=["model", "teacher"])
    return data.named(rows[rows["teacher"] == teacher].reset_index(drop=True))


# Cost and speed.


def usable(data: Tables) -> pd.DataFrame:
    """The models that somebody might use, with `macs_million`, and `latency_ms` of an image in the fastest engine."""
    timed = data.further("benchmark/latency", "model", "batch_size", "latency_ms_p50")
    fastest = timed[timed["batch_size"] == 1].groupby("model")["latency_ms_p50"].min()
    rows = data.candidates
    return rows.assign(macs_million=rows["macs"] / 1e6, latency_ms=rows["model"].map(fastest).astype(float))


def costs(data: Tables) -> pd.DataFrame:
    """The models with a known cost, and `total` [10^12 MACs], with all that they build on: baseline, teacher, ...

    `trainings` is that in trainings of the baseline. No rows where that one cost nothing or is not told of.
    """
    rows = data.candidates.dropna(subset=[OWN, TOTAL])
    once = rows.loc[rows["model"] == BASELINE, TOTAL].sum()
    return rows.assign(total=rows[TOTAL], trainings=rows[TOTAL] / once) if once > 0 else pd.DataFrame()


def cost_spans(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """From the cheapest to the costliest model of each compressed family of `costs`, in baselines' trainings.

    Students that build on nothing, the controls, stand apart from those with a teacher.
    """
    alone = (rows["family"] == "students") & (rows[OWN] == rows["total"])
    groups = rows["trainings"].groupby(rows["family"].mask(alone, ALONE), sort=False)
    return {str(name): (share.min(), share.max()) for name, share in groups if name not in NOT_COMPRESSED}


def within_budget(rows: pd.DataFrame, budget: float) -> pd.DataFrame:
    """Models of `costs`, smaller than the baseline, that cost at most so many of its trainings, with all below them."""
    fits = rows["trainings"] <= budget * (1 + TEXT_ROUNDING)
    return rows[fits & (rows["times_smaller"] > 1) & ~rows["family"].isin(NOT_COMPRESSED)]


def latency(data: Tables) -> pd.DataFrame:
    """Times of results/benchmark/latency.csv with the plan's columns and those of the dense float model beside them.

    Of the dense model, timed in the same engine with the same batch: `dense_ms_p25`, `_p50`, `_p75`. `differs`:
    whether the quartiles of the two lie apart. Empty where nothing, or no baseline, was timed.
    """
    rows = data.further("benchmark/latency", "model")
    if BASELINE not in set(rows["model"]):
        return pd.DataFrame(columns=["model", "engine", "batch_size", "speedup", "differs"])
    engine = rows["engine"].where(rows["engine"] == PYTORCH, FLOAT)  # integers run in ONNX Runtime alone
    quartiles = [f"latency_ms_{part}" for part in ("p25", "p50", "p75")]
    dense = rows.loc[rows["model"] == BASELINE, ["engine", "batch_size", *quartiles]]
    dense = dense.rename(columns=lambda name: name.replace("latency", "dense")).rename(columns={"engine": "against"})
    joined = rows.assign(against=engine).merge(dense, on=["against", "batch_size"], how="left")
    faster = joined["latency_ms_p75"] < joined["dense_ms_p25"]
    slower = joined["latency_ms_p25"] > joined["dense_ms_p75"]
    return data.named(joined.assign(differs=faster | slower))
