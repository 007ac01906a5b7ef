"""What the source report claims of pruning (sections 4.1 to 4.3 and 4.8), each beside the rows that test it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import text
from deepcompress.report.claim_rules import Claim, Measure, above, apart, counted, keeps, row_of, timed
from deepcompress.report.tables import BASELINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepcompress.report.tables import Tables

UNSTRUCTURED, STRUCTURED = "pruned/unstructured-0.25", "pruned/structured-0.25"
HEAVY = 0.9  # the highest sparsity of the source report's scan
HALF = 0.5
WITHIN_95 = 1.96  # standard errors
SCANNED = Measure("top1_pct", " %", images=" validation images")


def convolutions_bear_more(data: Tables) -> Claim:
    """On the mean over layers; its error is at most the mean of theirs, since all saw the same images."""
    said = "Zeroing nine tenths of one layer's weights harms fully connected layers more than convolutions."
    rows = scanned(data, "unstructured", HEAVY)
    names = ("convolutions", "fully connected layers")
    if rows.empty:
        return Claim("4.1", said)
    kinds = rows["model"].str.startswith("features").map({True: names[0], False: names[1]})
    means = rows.groupby(kinds)[["top1_pct", "top1_pct_low", "top1_pct_high", "n"]].mean()
    return above("4.1", said, means.rename_axis("model").reset_index(), names, SCANNED)


def a_quarter_is_free(data: Tables) -> Claim:
    return keeps(data, "4.1", "A quarter of single zeros keeps the accuracy close to the baseline's.", UNSTRUCTURED)


def first_layers_are_sensitive(data: Tables) -> Claim:
    said = "Losing half of its filters harms the first convolution more than the last."
    rows = scanned(data, "structured", HALF)
    rows = rows[rows["model"].str.startswith("features")] if not rows.empty else rows
    if len(rows) <= 1:
        return Claim("4.2", said)
    return above("4.2", said, rows, (rows["model"].iloc[-1], rows["model"].iloc[0]), SCANNED)


def zeros_keep_attention(data: Tables) -> Claim:
    said = "Single zeros leave attention where the baseline has it; removed filters shift it."
    maps = data.extra.get("explain/attention", pd.DataFrame())
    if not maps.empty:
        maps = maps[(maps["teacher"] == "baseline") & (maps["role"] == maps["role"].iloc[0])]
    what = Measure("ssim", " SSIM to the baseline's maps", 3, " validation images")
    return above("4.3", said, maps, (UNSTRUCTURED, STRUCTURED), what)


def unstructured_keeps_more(data: Tables) -> Claim:
    said = "At the same sparsity, single zeros keep more accuracy than removed filters."
    return apart("4.3", said, data, UNSTRUCTURED, STRUCTURED)


def training_restores(data: Tables) -> Claim:
    said = "Training on brings back accuracy that pruning cost."
    return apart("4.3", said, data, STRUCTURED, "masked/structured-0.25")


def channels_are_faster(data: Tables) -> Claim:
    return timed(data, "4.3", "Removing filters makes inference faster.", "pruned/structured-0.5", faster=True)


def zeros_are_no_faster(data: Tables) -> Claim:
    said = "Single zeros bring little speed on ordinary hardware."
    return timed(data, "4.3", said, "pruned/unstructured-0.5", faster=False)


def zeros_save_their_share(data: Tables) -> Claim:
    said = "Zeroing a quarter of the weights saves a quarter of the storage (122 of 492 MB)."
    row = row_of(data.models, UNSTRUCTURED)
    if row is None:
        return Claim("4.3", said)
    saved = 1 - row["size_bytes"] / data.baseline["size_bytes"]
    evidence = f"{UNSTRUCTURED}: the file is {text.percent(saved, 1)} % smaller, weights' places included"
    return counted("4.3", said, evidence, holds=saved >= 0.25)


def accuracy_falls_beyond_half(data: Tables) -> Claim:
    said = "Accuracy drops sharply beyond half of the weights."
    return apart("4.3", said, data, "pruned/unstructured-0.5", "pruned/unstructured-0.75")


def pruned_models_are_less_robust(data: Tables) -> Claim:
    said = "Pruned models are less robust (tested by other colours)."
    rows = data.extra.get("explain/colour", pd.DataFrame())
    what = Measure("jittered_top1_pct", " %", images=" validation images")
    return above("4.8", said, rows, (BASELINE, STRUCTURED), what)


def scanned(data: Tables, method: str, sparsity: float) -> pd.DataFrame:
    """A row per layer that was pruned alone, called `model`, with its 95 % interval; empty where none was."""
    rows = data.extra.get(f"sensitivity/{method}", pd.DataFrame())
    rows = rows[rows["sparsity"] == sparsity] if not rows.empty else rows
    if rows.empty:
        return pd.DataFrame()
    half = WITHIN_95 * rows["top1_se_pct"]
    return rows.assign(model=rows["layer"], top1_pct_low=rows["top1_pct"] - half, top1_pct_high=rows["top1_pct"] + half)


CLAIMS: tuple[Callable[[Tables], Claim], ...] = (
    convolutions_bear_more,
    a_quarter_is_free,
    first_layers_are_sensitive,
    zeros_keep_attention,
    unstructured_keeps_more,
    training_restores,
    channels_are_faster,
    zeros_are_no_faster,
    zeros_save_their_share,
    accuracy_falls_beyond_half,
    pruned_models_are_less_robust,
)
