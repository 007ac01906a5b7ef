"""What claims are judged by: measured values with intervals, their differences, and the source report's beside ours.

A difference of accuracies is the one that `evaluate` took image by image, as tables.py had it judged in its family. Of
other measures there are no replicates: where a training stands between two models, their difference is not tested.

Absolute accuracies of two settings (data, image size, pre-training) cannot be compared. What a technique costs against
the baseline of its own setting can, where the images are the same: those of CIFAR-100.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from deepcompress.measure import verdict
from deepcompress.measure.statistics import WITHIN_95, p_of_interval, wilson_interval
from deepcompress.measure.verdict import NAN, Estimate
from deepcompress.report import queries, text
from deepcompress.report.tables import BASELINE, Tables

AGREES, CONTRADICTS, SAME, UNTESTED = "agrees", "contradicts", verdict.NO_DIFFERENCE, "not tested"
IN_PART, UNDECIDED, INCOMPARABLE = "agrees in part", "undecided", "not comparable data"
Row = Mapping[str, Any]  # of claims.yaml
TOP1 = "top1"
SOURCE_IMAGES = 10_000  # CIFAR-100's test set, on which the source report measured
CIFAR100_CLASSES = 100
ONLY_IN_CIFAR100 = {"aquarium_fish", "sweet_pepper", "pickup_truck"}
PLACES = {"first convolution": slice(1), "last convolution": slice(-1, None)}


@cache
def content() -> dict[str, Any]:
    """What claims.yaml holds."""
    return yaml.safe_load(Path(__file__).with_name("claims.yaml").read_text(encoding="utf-8"))


def measure_of(row: Row) -> Row:
    """The measure that a row compares by; accuracy where it names none."""
    return content()["measures"][row.get("measure", TOP1)]


def chosen(data: Tables, models: str | Row) -> pd.DataFrame:
    """The rows of the evaluation that a query asks for: a name in claims.yaml, or column -> value or values."""
    query = content()["models"][models] if isinstance(models, str) else models
    wanted = {column: value if isinstance(value, list) else [value] for column, value in query.items()}
    return data.models[data.models[list(wanted)].isin(wanted).all(axis=1)]


def outcome(difference: Estimate) -> str:
    """AGREES on the claimed side of zero, CONTRADICTS on the other, else SAME or UNTESTED."""
    return {verdict.GAIN: AGREES, verdict.LOSS: CONTRADICTS, verdict.NOT_TESTED: UNTESTED}.get(difference.words, SAME)


def spelled(of: Estimate, measure: Row) -> str:
    """`pruned/structured-0.25: 96.6 (95.7 to 97.3) %`."""
    return f"{of.name}: {text.spanned(of, measure.get('digits', 1))}{measure.get('unit', ' points')}"


def measured(data: Tables, row: Row, side: str | Row) -> list[Estimate]:
    """All that one side of a row names, by the row's measure; empty where nothing was measured."""
    measure = measure_of(row)
    table = data.models if measure["table"] == "models" else data.further(measure["table"])
    for column, value in row.get("where", {}).items():
        table = table[table[column] == value] if column in table else table.head(0)
    if table.empty:
        return []
    if "role" in table:
        table = table[table["role"] == table["role"].iloc[0]]  # maps of the finest layer come first
    table = _with_ends(table, measure["column"])
    if "layers" in side:
        table = _of_layers(table, side["layers"])  # type: ignore[index]
    else:
        table = table[table["model"].isin(chosen(data, side)["model"])]
    rows = (row for _, row in table.dropna(subset=[measure["column"]]).iterrows())
    return [replace(text.estimate(row, measure["column"]), n=int(row["n"]), name=str(row["model"])) for row in rows]


def _with_ends(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with the ends of intervals that it does not hold: from standard errors, or from counts of images."""
    low, high, error = f"{column}_low", f"{column}_high", column.replace("_pct", "_se_pct")
    if low in table:
        return table
    if column.endswith("_pct") and error not in table:
        return queries.with_interval(table, column)
    half = WITHIN_95 * table[error] if error != column else NAN
    return table.assign(**{low: table[column] - half, high: table[column] + half})


def _of_layers(table: pd.DataFrame, which: str) -> pd.DataFrame:
    """Rows of a scan of layers, called `model`: the mean of a kind, or the first or last convolution.

    The error of a mean is at most the mean of the errors, since all layers saw the same images.
    """
    convolution = table["layer"].str.startswith("features")
    if which in PLACES:
        return table[convolution].iloc[PLACES[which]].assign(model=lambda rows: rows["layer"])
    some = table[convolution == (which == "convolutions")]
    return some.groupby(lambda _: which).mean(numeric_only=True).rename_axis("model").reset_index()


def difference(data: Tables, row: Row, first: Estimate, second: Estimate) -> Estimate:
    """First less second; NaN for an interval where the two are of different trainings and nothing tells of chance."""
    value, n = first.value - second.value, first.n
    if row.get("measure", TOP1) == TOP1:
        return data.differences.get((first.name, second.name)) or Estimate(value, n=n)
    models = [name for name in (first.name, second.name) if name in data.plan]
    if len(models) == 2 and verdict.trained_apart(data.plan, *models):
        return Estimate(value, n=n)
    return combined((first, second), (1, -1))  # of one training; wider than by image, which the tables do not hold


def above(loss: Estimate, limit: float) -> Estimate:
    """How far a difference lies above -limit, with the p of lying just there."""
    value, low, high = (end + limit for end in (loss.value, loss.low, loss.high))
    if not loss.tested:
        return replace(loss, value=value)
    p = p_of_interval(value, value - low if value > 0 else high - value, loss.freedom)
    return Estimate(value, low, high, p, loss.freedom, loss.n)


def corrected(apart: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Named differences as one family."""
    return dict(zip(apart, verdict.corrected(list(apart.values())), strict=True))


def combined(parts: Sequence[Estimate], factors: Sequence[float]) -> Estimate:
    """A weighted sum of independent estimates; each interval's ends may lie at their own distance.

    Source: Newcombe, Statistics in Medicine 17 (1998), 873, method 10, for a difference; Zou and Donner, Statistics in
    Medicine 27 (2008), 1693, for sums.
    """
    value, below, above = 0.0, 0.0, 0.0
    for part, factor in zip(parts, factors, strict=True):
        reach = sorted((factor * (part.low - part.value), factor * (part.high - part.value)))
        value, below, above = value + factor * part.value, math.hypot(below, reach[0]), math.hypot(above, reach[1])
    freedom = min(part.freedom for part in parts)  # no fewer than the sum has
    p = p_of_interval(value, below if value > 0 else above, freedom)
    return Estimate(value, value - below, value + above, p, freedom, parts[0].n)


def contrast(data: Tables, parts: Sequence[Estimate], factors: Sequence[float]) -> Estimate:
    """A weighted sum of the accuracies of models that are trained apart: judged over seeds, or not at all.

    What all seeds share because their images are the same is taken as for independent images: never less than it is.
    """
    value = sum(factor * part.value for part, factor in zip(parts, factors, strict=True))
    runs = [{row["seed"]: row["top1_pct"] for row in data.replicates.of(part.name)} for part in parts]
    seeds = [seed for seed in runs[0] if all(seed in run for run in runs)]
    if len(seeds) < 2:
        return Estimate(value, n=parts[0].n)
    errors = [factor * (part.high - part.low) / (2 * WITHIN_95) for part, factor in zip(parts, factors, strict=True)]
    sums = [sum(factor * run[seed] for run, factor in zip(runs, factors, strict=True)) for seed in seeds]
    return verdict.over_seeds(sums, shared_variance=sum(error**2 for error in errors), n=parts[0].n)


# The source report beside ours: as points to each one's own baseline, with the errors of both.


def start(data: Tables, family: str) -> str:
    """The model that those of a family are compared with: the baseline, or quantization's own."""
    known = data.of(family)["builds_on"].dropna()
    return str(known.iloc[0]) if family == "quantized" and len(known) else BASELINE


def source_top1(data: Tables, family: str) -> dict[str, float]:
    """Its top-1 [%] by our ids, of the models that we have, too; before them their `start`, or the teachers."""
    known, stated = set(data.models["model"]), data.paper["top1_pct"][family].items()
    named = ((start(data, family) if model == "start" else model, top1) for model, top1 in stated)
    return {model: top1 for model, top1 in named if model in known}


def setting_note(data: Tables) -> str:
    """What keeps the two from being the same experiment; nothing on the source report's own data and image size."""
    model, apart = data.params.get("model", {}), []
    if not is_cifar100(data):
        apart.append(f"data ({data.params.get('data', {}).get('source', 'other')}, not CIFAR-100)")
    if model.get("image_size") != 224:
        apart.append(f"image size ({model.get('image_size', 'unknown')} px, not 224)")
    if model.get("weights") != "imagenet":
        apart.append("no ImageNet pre-training")
    return f" (settings differ: {', '.join(apart)})" if apart else ""


def is_cifar100(data: Tables) -> bool:
    """Whether the classes are CIFAR-100's, from whichever source they were read."""
    classes = set(data.per_class["class"])
    return len(classes) == CIFAR100_CLASSES and classes >= ONLY_IN_CIFAR100


def interval(top1: float) -> Estimate:
    """Its accuracy [%] with the error of its images."""
    low, high = wilson_interval(round(top1 / 100 * SOURCE_IMAGES), SOURCE_IMAGES)
    return Estimate(top1, 100 * low, 100 * high, n=SOURCE_IMAGES)


def source_points(theirs: Mapping[str, float], model: str, first: str) -> Estimate:
    """Its accuracy less that of another of its models."""
    return combined((interval(theirs[model]), interval(theirs[first])), (1, -1))


def outcomes(data: Tables, family: str) -> dict[str, str]:
    """Whether the two differences to each one's own start could be the same, of each model that is in both.

    By the errors of both; the models of a family are corrected for their number.
    """
    theirs, first = source_top1(data, family), start(data, family)
    apart = {}
    for model in theirs:
        here = data.differences.get((model, first))
        if here is not None and here.tested:
            apart[model] = combined((here, source_points(theirs, model, first)), (1, -1))
    words = dict.fromkeys((model for model in theirs if model != first), UNTESTED)
    return words | {model: AGREES if of.words == SAME else CONTRADICTS for model, of in corrected(apart).items()}


def accuracies(data: Tables, models: Iterable[str]) -> str:
    """Ours, a value or a range for each method, or for teachers and students."""
    rows = chosen(data, {"model": list(models)})
    by = rows["method"].where(rows["family"].isin(("pruned", "quantized")), rows["family"])  # else by family
    parts = []
    for name, some in rows.groupby(by, sort=False):
        ends = [text.number(end, 2) for end in (some["top1_pct"].min(), some["top1_pct"].max())]
        parts.append(f"{name} {text.accuracy(some.iloc[0]) if len(some) == 1 else ' to '.join(ends)} %")
    return ", ".join(parts)
