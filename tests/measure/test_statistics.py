"""Intervals and paired tests against hand-worked numbers, exact sums and the slow way."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from deepcompress.measure.statistics import (
    compare,
    decimals,
    holm,
    mcnemar,
    paired_interval,
    significant,
    t_test,
    wilson_interval,
)


def pair(both: int, a_alone: int, b_alone: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Right answers of two models with these outcome counts."""
    counts = (both, a_alone, b_alone, neither)
    right_a = np.repeat([True, True, False, False], counts)
    return right_a, np.repeat([True, False, True, False], counts)


few = st.integers(0, 40)


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


def test_mcnemar_is_chi_squared_of_one_degree_of_freedom() -> None:
    # 9 images differ, 2 of them in favour of a: (7 - 2)^2 / 9 and the like
    for gained, lost in ((2, 7), (40, 12), (5100, 4900)):
        p = stats.chi2.sf((gained - lost) ** 2 / (gained + lost), 1)
        assert mcnemar(gained, lost) == mcnemar(lost, gained) == pytest.approx(p, rel=1e-9)
    assert mcnemar(4, 4) == mcnemar(0, 0) == 1.0


def test_paired_interval_is_the_published_one() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), 2635, table III, and Tango's own example: 1 of 44 patients differs.
    low, high = paired_interval(0, 1, 44)
    assert (low / 100, high / 100) == pytest.approx((-0.1181, 0.0594), abs=1e-4)


@given(gained=few, lost=few, n=st.integers(80, 20_000))
def test_the_paired_interval_and_p_agree_and_models_may_be_swapped(gained: int, lost: int, n: int) -> None:
    low, high = paired_interval(gained, lost, n)
    assert -100 <= low <= 100 * (gained - lost) / n <= high <= 100
    assert (low > 0 or high < 0) == (mcnemar(gained, lost) < 0.05)
    assert paired_interval(lost, gained, n) == (-high, -low)


@pytest.mark.parametrize("expected", [3, 4, 6, 10, 30, 100, 300])
def test_paired_intervals_hold_the_difference_as_often_as_they_promise(expected: int) -> None:
    """Exactly, over all likely counts of 2,000 images of which so many are expected to differ."""
    n, counts = 2000, np.arange(int(expected + 8 * math.sqrt(expected) + 10))
    held = []
    for favoured in (0.5, 0.6, 0.8) if expected <= 30 else (0.5,):
        gains, losses = expected * favoured / n, expected * (1 - favoured) / n
        chance = stats.binom.pmf(counts, n, gains)[:, None]
        chance = chance * stats.binom.pmf(counts[None], n - counts[:, None], losses / (1 - gains))
        likely = np.argwhere(chance > 1e-6).tolist()
        inside = [low <= 100 * (gains - losses) <= high for low, high in (paired_interval(*pair, n) for pair in likely)]
        held.append(chance[tuple(np.transpose(likely))] @ inside)
    assert 0.935 <= held[0] <= 0.9705  # models that are equally often right
    assert all(0.93 <= share <= 0.985 for share in held)


def test_a_comparison_holds_the_difference_its_interval_and_p() -> None:
    found = compare(*pair(70, 14, 6, 10))
    assert (found.points, found.gained, found.lost) == (8.0, 14, 6)
    assert ((found.low, found.high), found.p) == (paired_interval(14, 6, 100), mcnemar(14, 6))


@pytest.mark.parametrize("freedom", [1, 1.3, 2, 4.7, 30, 3000, 9999, 1e6, math.inf])
def test_t_test_is_student_s(freedom: float) -> None:
    low, high, p = t_test(2.0, 0.25, freedom)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, freedom, 2.0, 0.5), rel=1e-8)
    assert p == pytest.approx(2 * stats.t.sf(4.0, freedom), rel=1e-8)
    assert t_test(high - 2.0, 0.25, freedom)[2] == pytest.approx(0.05)


def test_t_test_without_variance_is_certain() -> None:
    assert t_test(0.0, 0.0, 2) == (0.0, 0.0, 1.0)
    assert t_test(0.5, 0.0, 2) == (0.5, 0.5, 0.0)


def test_holm_is_the_correction_worked_by_hand() -> None:
    # Four tested: 4 * 0.01, 3 * 0.02, 2 * 0.022 but not below the one before, 0.9
    found = holm([0.02, 0.01, 0.9, 0.022, math.nan])
    assert found == pytest.approx([0.06, 0.04, 0.9, 0.06, math.nan], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_rounding_knows_no_negative_zero_and_no_infinity() -> None:
    assert str(decimals(-0.001)) == "0.0"
    assert str(significant(-0.0)) == "0.0"
    assert (decimals(12.3456), significant(0.000123456)) == (12.35, 0.0001235)
    assert decimals(math.inf) is None
    assert significant(math.nan) is None


@pytest.mark.parametrize(
    ("statistic", "given", "message"),
    [
        *((compare, (np.ones(a, bool), np.ones(b, bool)), "same images") for a, b in ((3, 4), (0, 0))),
        *((wilson_interval, counts, "right answers must be 0 to n") for counts in ((0, 0), (-1, 10), (11, 10))),
        *((paired_interval, counts, "gained and lost must be 0 to n") for counts in ((-1, 0, 5), (3, 3, 5), (0, 0, 0))),
    ],
)
def test_impossible_counts_and_other_images_are_refused(
    statistic: Callable[..., object], given: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        statistic(*given)
