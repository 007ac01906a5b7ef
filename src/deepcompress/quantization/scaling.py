"""How a cost of rounding falls with the number of bits: a straight line through its logarithm, and what is left.

A grid of one bit more has half the step, so the error of weights and answers should halve with every bit. Where
the answers move little, the loss grows with the square of their error or faster at few bits; Kumar et al. fit
the same exponential to the loss after training. One model on one data set says nothing of how this changes
with the size of the model or of the data, which is what a scaling law is about.

Source: Kumar et al., Scaling Laws for Precision, 2024, https://arxiv.org/abs/2411.04330, section 3.1; they fit
exp(-bits/gamma) with a factor of parameters and data, which is constant here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float

FEWEST_POINTS = 3  # through two points every line fits


@dataclass(frozen=True)
class Trend:
    """cost = 2 ** (intercept + slope * bits).

    Attributes:
        intercept: Logarithm to base 2 of the cost at 0 bits.
        slope: Per bit; -1: the cost halves with every bit.
        spread: Root mean square of the residuals, in doublings.
        points: Through how many the line goes.
    """

    intercept: float
    slope: float
    spread: float
    points: int

    def at(self, bits: float) -> float:
        """The cost that the line says."""
        return float(2 ** (self.intercept + self.slope * bits))

    def residual(self, bits: float, cost: float) -> float:
        """How far a cost lies above the line, in doublings: 1 is twice what the line says."""
        return float(np.log2(cost) - self.intercept - self.slope * bits)


def trend(bits: Sequence[float], costs: Sequence[float], told_apart: Sequence[bool]) -> Trend | None:
    """The line of least squares through the logarithms of some costs.

    Args:
        bits: Of each point.
        costs: Of each point; those to be used are above zero.
        told_apart: Whether a point's cost is told apart from zero; the others say nothing of a trend.

    Returns:
        None where fewer than three points can be used.
    """
    used: Bool[np.ndarray, " points"] = np.array(told_apart, bool) & (np.array(costs, float) > 0)
    if used.sum() < FEWEST_POINTS:
        return None
    x: Float[np.ndarray, " used"] = np.array(bits, float)[used]
    y: Float[np.ndarray, " used"] = np.log2(np.array(costs, float)[used])
    slope, intercept = np.polyfit(x, y, 1)
    spread = float(np.sqrt(np.mean((y - intercept - slope * x) ** 2)))
    return Trend(float(intercept), float(slope), spread, int(used.sum()))
