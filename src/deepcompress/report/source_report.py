"""The source report's accuracies beside ours: as points to each one's own baseline, with the errors of both.

Absolute accuracies of two settings (data, image size, pre-training) cannot be compared. What a technique costs against
the baseline of its own setting can, where the images are the same: those of CIFAR-100.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deepcompress.measure.statistics import wilson_interval
from deepcompress.report import queries, text
from deepcompress.report.blocks import Table
from deepcompress.report.estimates import (
    AGREES,
    CONTRADICTS,
    INCOMPARABLE,
    SAME,
    UNTESTED,
    Estimate,
    chosen,
    combined,
    corrected,
    paired,
)  # fmt: skip
from deepcompress.report.tables import BASELINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from deepcompress.report.tables import Tables

SOURCE_IMAGES = 10_000  # CIFAR-100's test set, on which the source report measured
CIFAR100_CLASSES = 100
ONLY_IN_CIFAR100 = {"aquarium_fish", "sweet_pepper", "pickup_truck"}
TEACHERS = ("vgg16", "vgg19")  # whose students it measured
Query = tuple[dict[str, object], float]  # what chooses a model by the plan's columns, and its top-1 there


def start(data: Tables, family: str) -> str:
    """The model that those of a family are compared with: the baseline, or quantization's own."""
    known = data.of(family)["builds_on"].dropna()
    return str(known.iloc[0]) if family == "quantized" and len(known) else BASELINE


def source_top1(data: Tables, family: str) -> dict[str, float]:
    """Its top-1 [%] by our ids, of the models that we have, too; before them their `start`, or the teachers."""
    paper = data.paper
    first: dict[str, object] = {"model": start(data, family)}
    teachers: list[Query] = [({"model": f"teachers/{name}"}, paper["teachers"][name]) for name in TEACHERS]
    rows: dict[str, list[Query]] = {
        "pruned": [(first, paper["baseline"]["top1_pct"])]
        + [
            ({"family": "pruned", "method": m, "sparsity": paper["pruned"]["overall_sparsity"]},
             paper["pruned"][m]["top1_pct"]) for m in queries.METHODS
        ],
        "quantized": [(first, paper["quantized"]["baseline"])]
        + [
            ({"family": "quantized", "method": mode, "format": name}, top1)
            for mode in ("ptq", "qat") for name, top1 in paper["quantized"][mode].items()
        ],
        "teachers": [(first, paper["quantized"]["baseline"]), *teachers],
        "students": teachers
        + [
            ({"family": "students", "method": method, "teacher": f"teachers/{name}"}, top1)
            for name in TEACHERS for method, top1 in paper["students"][name].items()
        ],
    }  # fmt: skip
    return {model: top1 for query, top1 in rows[family] for model in chosen(data, query)["model"]}


def side_by_side(data: Tables, family: str) -> Table | None:
    """Its accuracies and ours, and both as points to each one's own baseline; None where no model is in both."""
    theirs, first, cells = source_top1(data, family), start(data, family), []
    words = outcomes(data, family) if is_cifar100(data) else {}
    for _, row in data.of(family).iterrows():
        here = queries.pair(data, row["model"], first)
        if (top1 := theirs.get(row["model"])) is not None and here is not None:
            points_there = _their_points(theirs, row["model"], first).ends(signed=True)
            verdict = words.get(row["model"], INCOMPARABLE)
            cells.append((row["name"], points_there, text.difference(here), verdict, text.number(top1),
                          text.accuracy(row)))  # fmt: skip
    heads = ("Model", "Source report: points (95 %)", "Here: points (95 %)", "Verdict", "Source report: top-1 %",
             "Here: top-1 % (95 %)")  # fmt: skip
    caption = (
        "Points: difference to each one's own baseline. The source report prints no intervals: those here are of two "
        "samples of 10,000 images, wider than of the same images, which it does not tell, and without the chance of "
        f"its one training each. Verdicts are corrected (Holm) for all of this table."
        f"{text.ns(cell[2] for cell in cells)}"
    )
    return Table(heads, tuple(cells), caption) if cells else None


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
    low, high = wilson_interval(round(top1 / 100 * SOURCE_IMAGES), SOURCE_IMAGES)
    return Estimate("", top1, 100 * low, 100 * high, SOURCE_IMAGES)


def _their_points(theirs: Mapping[str, float], model: str, first: str) -> Estimate:
    return combined((interval(theirs[model]), interval(theirs[first])), (1, -1))


def outcomes(data: Tables, family: str) -> dict[str, str]:
    """Whether the two differences to each one's own start could be the same, of each model that is in both.

    By the errors of both; the models of a family are corrected for their number.
    """
    theirs, first = source_top1(data, family), start(data, family)
    untested, apart = dict[str, str](), dict[str, Estimate]()
    for model in theirs:
        here = paired(data, model, first) if model != first else None
        if here is not None and not math.isnan(here.low):
            apart[model] = combined((here, _their_points(theirs, model, first)), (1, -1))
        elif model != first:
            untested[model] = UNTESTED
    judged = zip(apart, corrected(list(apart.values())), strict=True)
    words = untested | {model: AGREES if of.words == SAME else CONTRADICTS for model, of in judged}
    return {model: words[model] for model in theirs if model in words}


def accuracies(data: Tables, models: Iterable[str]) -> str:
    """Ours, a value or a range for each method, or for teachers and students."""
    rows = chosen(data, {"model": list(models)})
    by = rows["method"].where(rows["family"].isin(("pruned", "quantized")), rows["family"])  # else by family
    parts = []
    for name, some in rows.groupby(by, sort=False):
        ends = [text.number(end, 2) for end in (some["top1_pct"].min(), some["top1_pct"].max())]
        parts.append(f"{name} {text.accuracy(some.iloc[0]) if len(some) == 1 else ' to '.join(ends)} %")
    return ", ".join(parts)
