"""A model rounded after training to every width from 2 to 8 bits, and how its costs fall with the bits.

A grid of one bit more has half the step, so the error of weights and logits should halve with every bit. Where the
logits move little, the loss grows with the square of their error or faster at few bits; Kumar et al. fit the same
exponential to the loss after training. One model on one data set says nothing of how this changes with the size of the
model or of the data, which is what a scaling law is about.

Source: Kumar et al., Scaling Laws for Precision, 2024, https://arxiv.org/abs/2411.04330, section 3.1; they fit
exp(-bits/gamma) with a factor of parameters and data, which is constant here.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from deepcompress.data.batches import Batches
from deepcompress.measure import accuracy, statistics
from deepcompress.measure.statistics import decimals, significant
from deepcompress.models.records import WIDTHS
from deepcompress.quantization import ptq
from deepcompress.quantization.quantize import BATCH_SIZE, assign, assign_and_measure_

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from deepcompress.models.vgg import Classifier
    from deepcompress.quantization.settings import Quant
    from deepcompress.training.run import TrainingRun

    Row = dict[str, Any]

log = logging.getLogger(__name__)
NO_WIDTH_IS_UNGROUPED = 9
COSTS = ("output_error_relative", "loss_increase", "accuracy_drop_points")
Z = 1.96  # of a 95 % interval
FEWEST_POINTS = 3  # through two points every line fits


def measure(model: Classifier, data: TrainingRun, quant: Quant, *, seed: int) -> list[Row]:
    """A row per width and granularity: one scale per output channel, and per group where there are groups.

    The model, on the device to compute on, is not changed; every layer gets the same width.

    Returns:
        `bits`, `granularity` (channel or group), `group_size`, the columns of `quantize.Rounded`, and three costs:
        `output_error_relative`, `loss_increase` (cross-entropy over the unrounded model's, nats) with its 95 %
        interval, and `accuracy_drop_points` with the p of McNemar's test; `<cost>_significant` says whether it
        differs from zero.
    """
    device = next(model.parameters()).device
    validation = Batches(data.images.validation, data.view, batch_size=BATCH_SIZE, device=device)
    before = accuracy.logits(model, validation)
    rows = []
    for granularity, size in (("channel", None), ("group", quant.group_size)):
        for bits in WIDTHS if granularity == "channel" or size else ():
            formats = assign(model, f"int{bits}", group_size=size, channel_bits=NO_WIDTH_IS_UNGROUPED)
            quantized = ptq.quantize(model, formats, data, quant, seed=seed)
            rounded = assign_and_measure_(copy.deepcopy(model), formats, quantized, validation, before)
            named = {"bits": bits, "granularity": granularity, "group_size": size}
            rows.append(named | rounded.row | _costs(*before, rounded.logits))
            log.info("%d bits per %s: top-1 %.2f %%", bits, granularity, rows[-1]["validation_top1_pct"])
    return rows


def trends(rows: list[Row]) -> list[Row]:
    """A row per granularity and cost: the line through its logarithm, empty where too few points can carry one.

    Also adds to each of `rows` what its line says (`<cost>_trend`) and how far above it the cost lies, as a
    power of two (`<cost>_residual`); empty for a point that the line does not rest on.
    """
    lines = []
    for granularity in dict.fromkeys(row["granularity"] for row in rows):
        some = [row for row in rows if row["granularity"] == granularity]
        for cost in COSTS:
            apart = [row[f"{cost}_significant"] for row in some]
            line = trend([row["bits"] for row in some], [row[cost] for row in some], apart)
            for row, usable in zip(some, apart, strict=True):
                row[f"{cost}_trend"] = significant(line.at(row["bits"])) if line else None
                residual = line.residual(row["bits"], row[cost]) if line and usable else None
                row[f"{cost}_residual"] = None if residual is None else significant(residual)
            lines.append(
                {
                    "granularity": granularity,
                    "cost": cost,
                    "points": sum(map(bool, apart)),
                    "slope_per_bit": significant(line.slope) if line else None,
                    "residual_log2_rms": significant(line.residual_rms) if line else None,
                }
            )
    return lines


@dataclass(frozen=True)
class Trend:
    """cost = 2 ** (intercept + slope * bits); `residual_rms`: of the residuals, in powers of two."""

    intercept: float
    slope: float
    residual_rms: float

    def at(self, bits: float) -> float:
        """The cost that the line says."""
        return float(2 ** (self.intercept + self.slope * bits))

    def residual(self, bits: float, cost: float) -> float:
        """Log2 of a cost over what the line says: 1 is twice as much."""
        return float(np.log2(cost) - self.intercept - self.slope * bits)


def trend(bits: Sequence[float], costs: Sequence[float], differs: Sequence[bool]) -> Trend | None:
    """The line of least squares through the logarithms of some costs at some bits; None through fewer than three.

    A cost that does not differ significantly from zero says nothing of a trend, nor does one that is not above zero.
    """
    used: Bool[np.ndarray, " points"] = np.array(differs, bool) & (np.array(costs, float) > 0)
    if used.sum() < FEWEST_POINTS:
        return None
    x: Float[np.ndarray, " used"] = np.array(bits, float)[used]
    y: Float[np.ndarray, " used"] = np.log2(np.array(costs, float)[used])
    slope, intercept = np.polyfit(x, y, 1)
    rms = float(np.sqrt(np.mean((y - intercept - slope * x) ** 2)))
    return Trend(float(intercept), float(slope), rms)


def _costs(
    before: Float[Tensor, "images classes"], labels: Int[Tensor, " images"], after: Float[Tensor, "images classes"]
) -> Row:
    losses = [F.cross_entropy(logits.double(), labels, reduction="none") for logits in (before, after)]
    increase = losses[1] - losses[0]
    mean, half = increase.mean().item(), Z * (increase.std() / len(labels) ** 0.5).item()
    was, now = (accuracy.top_k_correct(logits, labels).numpy() for logits in (before, after))
    drop = statistics.compare(was, now)
    return {
        "output_error_relative_significant": not torch.equal(before, after),
        "loss_increase": significant(mean),
        "loss_increase_low": significant(mean - half),
        "loss_increase_high": significant(mean + half),
        "loss_increase_significant": mean - half > 0,
        "accuracy_drop_points": decimals(drop.points),
        "accuracy_drop_p": significant(drop.p),
        "accuracy_drop_points_significant": drop.low > 0,
    }
