"""How sure a difference is: intervals and tests for counts of right answers; how tables round. Free of torch.

A test of two models on the same images is paired: most images are right or wrong for both and say nothing
about the difference, so overlapping intervals of two single models do not mean that the models are equal.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Int


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


def outcomes(
    right_a: Bool[np.ndarray, " images"], right_b: Bool[np.ndarray, " images"]
) -> Int[np.ndarray, " outcomes"]:
    """How many images [both, a alone, b alone, neither] got right; both saw the same images, in order."""
    if right_a.shape != right_b.shape or right_a.ndim != 1 or right_a.size == 0:
        raise ValueError(f"a paired test needs the same images, got {right_a.shape} and {right_b.shape}")
    return np.bincount(3 - 2 * right_a.astype(int) - right_b.astype(int), minlength=4)


def mcnemar(right_a: Bool[np.ndarray, " images"], right_b: Bool[np.ndarray, " images"]) -> float:
    """Exact two-sided p-value of "both models are right equally often", from the images on which they differ.

    Under it, each such image favours either model with probability one half: p doubles the binomial tail
    (summed in whole numbers, hence exact), and is 1 at most. No differing image gives 1.

    Source: McNemar, Psychometrika 12 (1947), https://doi.org/10.1007/BF02295996, who approximates by chi
    squared, which is poor for few differing images; the exact form is the sign test on them.
    """
    _, a_alone, b_alone, _ = outcomes(right_a, right_b).tolist()
    differing = a_alone + b_alone
    tail = ways = 1
    for i in range(min(a_alone, b_alone)):
        ways = ways * (differing - i) // (i + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**differing)


def paired_bootstrap(
    right_a: Bool[np.ndarray, " images"],
    right_b: Bool[np.ndarray, " images"],
    seed: int = 0,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> tuple[float, float]:
    """Percentile interval of accuracy(a) - accuracy(b) [percent points], over resamples of the images.

    The difference depends on the four outcome counts alone, and drawing n images with replacement makes these
    counts multinomial: they are drawn directly, which is the same distribution without n draws per resample.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    counts = outcomes(right_a, right_b)
    n = counts.sum()
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=resamples)
    points = (drawn[:, 1] - drawn[:, 2]) * (100 / n)
    low, high = np.quantile(points, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def decimals(number: float) -> float | None:
    """Rounded to 2 decimals, without a negative zero; None where it is not finite (JSON has no NaN)."""
    return round(number, 2) + 0.0 if math.isfinite(number) else None


def significant(number: float) -> float | None:
    """Rounded to 4 significant digits; None where it is not finite."""
    return float(f"{number:.4g}") + 0.0 if math.isfinite(number) else None
