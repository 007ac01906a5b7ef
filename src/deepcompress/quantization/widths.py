"""A model rounded after training to every width from 2 to 8 bits, and how its costs fall with the bits."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from deepcompress.data.batches import Batches
from deepcompress.measure import accuracy, statistics
from deepcompress.measure.rows import decimals, significant
from deepcompress.quantization import scaling
from deepcompress.quantization.assign import assign
from deepcompress.quantization.rounding import round_and_measure_
from deepcompress.quantization.run import BATCH_SIZE, search

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from deepcompress.models.classifier import Classifier
    from deepcompress.quantization.settings import Quant
    from deepcompress.training.run import Data

    Row = dict[str, Any]

log = logging.getLogger(__name__)
WIDTHS = range(2, 9)
NO_WIDTH_IS_UNGROUPED = 9
COSTS = ("output_error_relative", "loss_increase", "accuracy_drop_points")
Z = 1.96  # of a 95 % interval


def measure(model: Classifier, data: Data, quant: Quant, *, seed: int) -> list[Row]:
    """A row per width and granularity: one scale per output channel, and per group where there are groups.

    Args:
        model: On the device to compute on; not changed.
        data: Training images to calibrate on, validation images to measure on.
        quant: Names the search and the group size; every layer gets the same width.
        seed: Of the search.

    Returns:
        `bits`, `granularity` (channel or group), `group_size`, the columns of `rounding.Rounded`, and three costs:
        `output_error_relative`, `loss_increase` (cross-entropy over the unrounded model's, nats) with its 95 %
        interval, and `accuracy_drop_points` with the p of McNemar's test; `<cost>_told_apart` says whether it
        differs from zero.
    """
    device = next(model.parameters()).device
    validation = Batches(data.images.validation, data.view, batch_size=BATCH_SIZE, device=device)
    before = accuracy.logits(model, validation)
    rows = []
    for granularity, size in (("channel", None), ("group", quant.group_size)):
        for bits in WIDTHS if granularity == "channel" or size else ():
            formats = assign(model, f"int{bits}", group_size=size, channel_bits=NO_WIDTH_IS_UNGROUPED)
            shrinks = search(model, formats, data, quant.clipping, quant.calibration, seed=seed)
            rounded = round_and_measure_(copy.deepcopy(model), formats, shrinks, validation, before)
            named = {"bits": bits, "granularity": granularity, "group_size": size}
            rows.append(named | rounded.row | _costs(*before, rounded.logits))
            log.info("%d bits per %s: top-1 %.2f %%", bits, granularity, rows[-1]["validation_top1_pct"])
    return rows


def trends(rows: list[Row]) -> list[Row]:
    """A row per granularity and cost: the line through its logarithm, empty where too few points can carry one.

    Also adds to each of `rows` what its line says (`<cost>_trend`) and how far above it the cost lies, in
    doublings (`<cost>_residual`); empty for a point that the line does not rest on.
    """
    found = []
    for granularity in dict.fromkeys(row["granularity"] for row in rows):
        some = [row for row in rows if row["granularity"] == granularity]
        for cost in COSTS:
            apart = [row[f"{cost}_told_apart"] for row in some]
            line = scaling.trend([row["bits"] for row in some], [row[cost] for row in some], apart)
            for row in some:
                usable = line is not None and row[f"{cost}_told_apart"]
                row[f"{cost}_trend"] = significant(line.at(row["bits"])) if line else None
                row[f"{cost}_residual"] = (
                    significant(line.residual(row["bits"], row[cost])) if usable and line else None
                )
            numbers = {"slope_per_bit": line.slope, "spread_doublings": line.spread} if line else {}
            named = {"granularity": granularity, "cost": cost, "points": sum(map(bool, apart))}
            empty = dict.fromkeys(("slope_per_bit", "spread_doublings"))
            found.append(named | empty | {name: significant(value) for name, value in numbers.items()})
    return found


def _costs(
    before: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], after: Float[Tensor, "images classes"]
) -> Row:
    losses = [F.cross_entropy(logits.double(), labels, reduction="none") for logits in (before, after)]
    increase = losses[1] - losses[0]
    mean, half = increase.mean().item(), Z * (increase.std() / len(labels) ** 0.5).item()
    was, now = (accuracy.top_k_correct(logits, labels).numpy() for logits in (before, after))
    p, drop = statistics.mcnemar(was, now), 100 * (int(was.sum()) - int(now.sum())) / len(labels)
    return {
        "output_error_relative_told_apart": not torch.equal(before, after),
        "loss_increase": significant(mean),
        "loss_increase_low": significant(mean - half),
        "loss_increase_high": significant(mean + half),
        "loss_increase_told_apart": mean - half > 0,
        "accuracy_drop_points": decimals(drop),
        "accuracy_drop_p": significant(p),
        "accuracy_drop_points_told_apart": p < 0.05 and drop > 0,
    }
