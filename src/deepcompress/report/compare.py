"""Paper and here side by side: differences to each one's own baseline, and a sentence on whether they agree.

Absolute accuracies of two settings (data, image size, pre-training) cannot be compared; what a technique
costs against the baseline of its own setting can, with a grain of salt that the sentence names.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deepcompress.report import text
from deepcompress.report.blocks import Table
from deepcompress.report.counterpart_rules import AGREES, MISSING, counted
from deepcompress.report.tables import BASELINE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from deepcompress.report.tables import Tables

CIFAR100_CLASSES = 100
UNTESTED = "not tested"
CLOSE = 0.05  # points: what a displayed tenth cannot tell apart
ONLY_IN_CIFAR100 = {"aquarium_fish", "sweet_pepper", "pickup_truck"}


def side_by_side(rows: pd.DataFrame, paper: Mapping[str, float], paper_baseline: float) -> Table:
    """The paper's accuracy and ours for the models that both have.

    Args:
        rows: Models of one family.
        paper: Model id -> the paper's top-1, percent.
        paper_baseline: The paper's top-1 of its own baseline, percent.
    """
    both = rows[rows["model"].isin(paper)]
    cells = [
        (
            row["name"],
            text.signed(paper[row["model"]] - paper_baseline),
            text.difference(row),
            outcome(paper[row["model"]] - paper_baseline, row),
            text.number(paper[row["model"]]),
            text.accuracy(row),
        )
        for _, row in both.iterrows()
    ]
    heads = (
        "Model",
        "Paper: points",
        "Here: points (95 %)",
        "Verdict",
        "Paper: top-1 %",
        "Here: top-1 % (95 %)",
    )
    return Table(heads, tuple(cells), caption="Points: difference to each one's own baseline.")


def outcome(paper_points: float, row: pd.Series) -> str:
    """`agrees` when the paper's difference lies within our interval, as it is shown, else which way we contradict it.

    Equal answers on every image make an interval without width; it holds nobody's value but its own. So
    differences that are shown as equal agree.
    """
    low, high = row["difference_points_low"], row["difference_points_high"]
    if math.isnan(low) or math.isnan(high):
        return UNTESTED
    if low - CLOSE <= paper_points <= high + CLOSE:
        return AGREES
    return "here better" if paper_points < low else "here worse"


def agreement(rows: pd.DataFrame, paper: Mapping[str, float]) -> str:
    """The verdict in a few words: of how many of the models that both have the differences agree.

    Args:
        rows: Models of one family.
        paper: Model id -> the paper's top-1, percent; under `baseline`, that of their baseline.
    """
    both = rows[rows["model"].isin(paper)]
    found = [outcome(paper[row["model"]] - paper[BASELINE], row) for _, row in both.iterrows()]
    tested = [word for word in found if word != UNTESTED]
    return counted(tested.count(AGREES), len(tested), "models") if tested else MISSING


def verdict(rows: pd.DataFrame, paper: Mapping[str, float], paper_baseline: float, data: Tables) -> str:
    """One sentence on agreement or contradiction, with the widest gap in numbers."""
    both = rows[rows["model"].isin(paper)].dropna(subset=["difference_points_low", "difference_points_high"])
    if both.empty:
        return "The paper and this run have no tested model in common."
    tested = [(paper[row["model"]] - paper_baseline, row) for _, row in both.iterrows()]
    theirs, row = max(tested, key=lambda pair: abs(pair[0] - pair[1]["difference_points"]))
    gap = f"{text.signed(theirs)} points in the paper, {text.signed(row['difference_points'])} here"
    agreeing = sum(outcome(points, row) == AGREES for points, row in tested)
    opening = {
        len(tested): "Agrees with the paper, within our intervals",
        0: "Contradicts the paper in each model that both have",
    }.get(agreeing, f"Agrees with the paper in {agreeing} of {len(tested)} models, contradicts it in the rest")
    elsewhere = " (another setting: see The baseline)" if setting_note(data) else ""
    return f"{opening}; the gap is widest for {row['name']}: {gap}{elsewhere}."


def setting_note(data: Tables) -> str:
    """What keeps the two from being the same experiment; nothing on the paper's own data and image size."""
    apart = []
    if not is_cifar100(data):
        apart.append(f"data ({data.params.get('data', {}).get('source', 'other')}, not CIFAR-100)")
    model = data.params.get("model", {})
    if model.get("image_size") != 224:
        apart.append(f"image size ({model.get('image_size', 'unknown')} px, not 224)")
    if model.get("weights") != "imagenet":
        apart.append("no ImageNet pre-training")
    return f" (settings differ: {', '.join(apart)})" if apart else ""


def is_cifar100(data: Tables) -> bool:
    """Whether the classes are CIFAR-100's, from whichever source they were read."""
    classes = set(data.per_class["class"])
    return len(classes) == CIFAR100_CLASSES and classes >= ONLY_IN_CIFAR100
