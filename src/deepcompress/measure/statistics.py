"""How sure a difference is: intervals and tests for counts of right answers; how tables round. Free of torch.

A test of two models on the same images is paired: most images are right or wrong for both and say nothing
about the difference, so overlapping intervals of two single models do not mean that the models are equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool

ALPHA = 0.05
WITHIN_95 = NormalDist().inv_cdf(1 - ALPHA / 2)  # standard errors
HALVINGS = 45  # of a bisection


def wilson_interval(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of a share of right answers; unlike the normal one it is sound near 0 and 1.

    Args:
        right: Right answers, 0 to n.
        n: Answers.
        z: Quantile of the standard normal; 1.96 gives 95 %.

    Returns:
        Lowest and highest plausible share, 0 to 1.

    Source: Wilson, JASA 22 (1927), https://doi.org/10.1080/01621459.1927.10502953; no continuity correction.
    """
    if not 0 <= right <= n or n == 0:
        raise ValueError(f"right answers must be 0 to n of n > 0 images, got {right} of {n}")
    share = right / n
    centre = share + z**2 / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + side * reach) / (1 + z**2 / n) for side in (-1, 1))
    return (0.0 if right == 0 else low), (1.0 if right == n else high)


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p-value of "both models are right equally often", from the images on which they differ.

    The score test: without a continuity correction, as `paired_interval` inverts it, so that p is below 0.05 exactly
    where that interval leaves out zero.

    Args:
        gained: Images that the first model alone got right.
        lost: Images that the second alone got right.

    Source: McNemar, Psychometrika 12 (1947), https://doi.org/10.1007/BF02295996; Fagerland et al., BMC Medical
    Research Methodology 13:91 (2013), find it closer to its level than the exact test, which is far too cautious.
    """
    return math.erfc(abs(gained - lost) / math.sqrt(2 * (gained + lost))) if gained + lost else 1.0


def paired_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Score interval of the difference of two accuracies on the same images [percent points], 95 %.

    All differences that a score test does not refuse. It holds with few differing images, where a bootstrap is too
    narrow (85.8 % with 3 of 2,000 expected) and Wald's interval with half an image added per cell too wide (99.1 %).

    Args:
        gained: Images that the first model alone got right.
        lost: Images that the second alone got right.
        n: All images.

    Source: Tango, Statistics in Medicine 17 (1998), 891, equations 8 and 9.
    """
    if min(gained, lost) < 0 or gained + lost > n or n == 0:
        raise ValueError(f"gained and lost must be 0 to n of n > 0 images, got {gained} and {lost} of {n}")
    return -100 * _largest(lost, gained, n), 100 * _largest(gained, lost, n)


def _largest(gained: int, lost: int, n: int) -> float:
    """The largest difference that the score test does not refuse, by bisection above the measured one."""
    low, high = (gained - lost) / n, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        # The likelihood's maximum of the lost share under this difference, from a quadratic equation.
        b = (2 * n - gained + lost) * middle - gained - lost
        share = (math.sqrt(max(b * b + 8 * n * lost * middle * (1 - middle), 0.0)) - b) / (4 * n)
        deviation = math.sqrt(max(n * (2 * share + middle * (1 - middle)), 0.0))
        low, high = (middle, high) if n * middle - gained + lost <= WITHIN_95 * deviation else (low, middle)
    return high


@dataclass(frozen=True)
class Difference:
    """Two models on the same images: accuracy(a) - accuracy(b) in percent points, with its 95 % interval and p."""

    points: float
    low: float
    high: float
    p: float
    gained: int
    lost: int


def compare(right_a: Bool[np.ndarray, " images"], right_b: Bool[np.ndarray, " images"]) -> Difference:
    """All that the answers of two models to the same images, in the same order, say of their difference."""
    if right_a.shape != right_b.shape or right_a.ndim != 1 or right_a.size == 0:
        raise ValueError(f"a paired test needs the same images, got {right_a.shape} and {right_b.shape}")
    gained, lost, n = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum()), len(right_a)
    low, high = paired_interval(gained, lost, n)
    return Difference(100 * (gained - lost) / n, low, high, mcnemar(gained, lost), gained, lost)


def t_test(value: float, variance: float, freedom: float) -> tuple[float, float, float]:
    """95 % interval and two-sided p-value of "it is 0" of an estimate with an estimated variance.

    Args:
        value: The estimate.
        variance: Of the estimate; 0 gives an interval without width.
        freedom: Degrees of freedom of the variance, at least 1, whole or not, or infinite.

    Returns:
        Low, high, p; p is below 0.05 exactly where the interval leaves out zero.
    """
    if variance == 0:
        return value, value, float(value == 0)
    error, within = math.sqrt(variance), _t_within_95(freedom)
    return value - within * error, value + within * error, _t_tails(value / error, freedom)


def p_of_interval(value: float, reach: float, freedom: float = math.inf) -> float:
    """Two-sided p-value of "it is 0" of an estimate by how far its 95 % interval reaches towards 0.

    Args:
        value: The estimate.
        reach: From it to the end on the side of 0; 0 of an interval without width.
        freedom: Degrees of freedom that the interval rests on.

    Returns:
        Below 0.05 exactly where the interval leaves out zero.
    """
    return _t_tails(_t_within_95(freedom) * value / reach, freedom) if reach else float(value == 0)


def _t_within_95(freedom: float) -> float:
    """The half-width of the 95 % interval in standard errors."""
    from scipy.special import stdtrit  # here, like all of SciPy: it takes a stage longer to load than to use

    return float(stdtrit(freedom, 1 - ALPHA / 2))


def _t_tails(t: float, freedom: float) -> float:
    """P(|T| >= |t|) of Student's t."""
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for being a family: the chance of one false difference or more among all stays below 5 %.

    Args:
        p: Of each comparison; NaN: not tested, hence not of the family, and NaN in the result.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), 65, as adjusted p-values.
    """
    tested = sorted((value, place) for place, value in enumerate(p) if not math.isnan(value))
    corrected = [math.nan] * len(p)
    highest = 0.0
    for rank, (value, place) in enumerate(tested):
        highest = corrected[place] = min(1.0, max(highest, (len(tested) - rank) * value))
    return corrected


def decimals(number: float) -> float | None:
    """Rounded to 2 decimals, without a negative zero; None where it is not finite (JSON has no NaN)."""
    return round(number, 2) + 0.0 if math.isfinite(number) else None


def significant(number: float) -> float | None:
    """Rounded to 4 significant digits; None where it is not finite."""
    return float(f"{number:.4g}") + 0.0 if math.isfinite(number) else None
