"""Intervals and paired tests against hand-worked numbers, exact sums and the slow way."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcompress.measure.statistics import (
    decimals,
    mcnemar,
    outcomes,
    paired_bootstrap,
    significant,
    wilson_interval,
)


def pair(both: int, a_alone: int, b_alone: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Right answers of two models with these outcome counts."""
    counts = (both, a_alone, b_alone, neither)
    right_a = np.repeat([True, True, False, False], counts)
    return right_a, np.repeat([True, False, True, False], counts)


few = st.integers(0, 40)


def test_statistics_are_free_of_torch() -> None:
    code = "import sys, deepcompress.measure.statistics; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_wilson_interval_is_the_one_worked_by_hand() -> None:
    # 8 of 10, z = 2: (8 + 2) / 14 -+ 2 * sqrt(0.8 * 0.2 * 10 + 1) / 14
    low, high = wilson_interval(8, 10, z=2.0)
    assert low == pytest.approx(10 / 14 - 2 * math.sqrt(2.6) / 14)
    assert high == pytest.approx(10 / 14 + 2 * math.sqrt(2.6) / 14)


def test_wilson_interval_is_the_published_one() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263 and 15 of 148.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)


@given(n=st.integers(1, 100_000), share=st.floats(0, 1))
def test_wilson_interval_holds_the_share_and_stays_within_0_and_1(n: int, share: float) -> None:
    right = round(share * n)
    low, high = wilson_interval(right, n)
    assert 0 <= low <= right / n <= high <= 1
    mirrored_low, mirrored_high = wilson_interval(n - right, n)
    assert (1 - mirrored_high, 1 - mirrored_low) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(("right", "n"), [(0, 0), (-1, 10), (11, 10)])
def test_wilson_interval_refuses_impossible_counts(right: int, n: int) -> None:
    with pytest.raises(ValueError, match="right answers must be 0 to n"):
        wilson_interval(right, n)


@given(both=few, a_alone=few, b_alone=few, neither=few)
def test_outcomes_are_counted_in_the_order_that_is_promised(
    both: int, a_alone: int, b_alone: int, neither: int
) -> None:
    if both + a_alone + b_alone + neither:
        assert outcomes(*pair(both, a_alone, b_alone, neither)).tolist() == [both, a_alone, b_alone, neither]


def test_mcnemar_is_the_binomial_tail_worked_by_hand() -> None:
    # 7 images differ, 1 of them in favour of a: 2 * (1 + 7) / 2**7
    assert mcnemar(*pair(5, 1, 6, 3)) == 0.125
    assert mcnemar(*pair(50, 1, 6, 0)) == 0.125
    assert mcnemar(*pair(0, 4, 4, 0)) == 1.0
    assert mcnemar(*pair(9, 0, 0, 9)) == 1.0


@given(a_alone=few, b_alone=few)
def test_mcnemar_is_symmetric_and_exact(a_alone: int, b_alone: int) -> None:
    right_a, right_b = pair(1, a_alone, b_alone, 1)
    n = a_alone + b_alone
    tail = sum(Fraction(math.comb(n, i), 2**n) for i in range(min(a_alone, b_alone) + 1))
    assert mcnemar(right_a, right_b) == mcnemar(right_b, right_a) == float(min(Fraction(1), 2 * tail))


def test_mcnemar_of_many_differing_images_neither_overflows_nor_lasts() -> None:
    assert 0 < mcnemar(*pair(0, 5100, 4900, 0)) < 0.05
    assert mcnemar(*pair(0, 10_000, 0, 0)) == 0.0


def test_bootstrap_interval_is_that_of_resampling_the_images_one_by_one() -> None:
    right_a, right_b = pair(70, 14, 6, 10)
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 100, (20_000, 100))
    drawn = 100 * (right_a[rows].mean(1) - right_b[rows].mean(1))
    assert paired_bootstrap(right_a, right_b) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1.01)
    # The normal approximation: 8 +- 1.96 * sqrt(14 + 6 - 8**2 / 100) points
    assert paired_bootstrap(right_a, right_b) == pytest.approx((8 - 8.62, 8 + 8.62), abs=0.8)


def test_bootstrap_of_equal_answers_is_no_difference() -> None:
    assert paired_bootstrap(*pair(30, 0, 0, 10)) == (0.0, 0.0)


def test_bootstrap_repeats_itself_and_widens_with_confidence() -> None:
    rights = pair(700, 60, 40, 200)
    assert paired_bootstrap(*rights, 3) == paired_bootstrap(*rights, 3)
    low, high = paired_bootstrap(*rights, confidence=0.95)
    lower, higher = paired_bootstrap(*rights, confidence=0.99)
    assert lower < low < 2.0 < high < higher


@settings(max_examples=20)
@given(both=few, a_alone=few, b_alone=few, neither=st.integers(1, 40))
def test_swapping_the_models_mirrors_the_bootstrap(both: int, a_alone: int, b_alone: int, neither: int) -> None:
    right_a, right_b = pair(both, a_alone, b_alone, neither)
    low, high = paired_bootstrap(right_a, right_b)
    mirrored_low, mirrored_high = paired_bootstrap(right_b, right_a)
    assert -100 <= low <= high <= 100
    # Two quantiles of 10,000 draws each differ by 0.04 of the standard deviation, sqrt(a_alone + b_alone) images at
    # most: six times that, and the two steps of one image between which a quantile may fall.
    images = 2 + 6 * 0.04 * math.sqrt(a_alone + b_alone)
    assert (-mirrored_high, -mirrored_low) == pytest.approx((low, high), abs=100 * images / len(right_a))


@pytest.mark.parametrize(("a", "b"), [(np.ones(3, bool), np.ones(4, bool)), (np.ones(0, bool), np.ones(0, bool))])
def test_a_paired_test_refuses_other_images_and_none(a: np.ndarray, b: np.ndarray) -> None:
    with pytest.raises(ValueError, match="same images"):
        mcnemar(a, b)


def test_rounding_knows_no_negative_zero_and_no_infinity() -> None:
    assert str(decimals(-0.001)) == "0.0"
    assert str(significant(-0.0)) == "0.0"
    assert (decimals(12.3456), significant(0.000123456)) == (12.35, 0.0001235)
    assert decimals(math.inf) is None
    assert significant(math.nan) is None
