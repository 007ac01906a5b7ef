"""The trend: exact on exact exponentials, silent where the points cannot carry it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcompress.quantization import scaling


@given(intercept=st.floats(-5, 5), slope=st.floats(-3, 3))
def test_an_exact_exponential_is_found_and_leaves_nothing(intercept: float, slope: float) -> None:
    bits = [2, 3, 5, 8]
    line = scaling.trend(bits, [2 ** (intercept + slope * b) for b in bits], [True] * 4)
    assert line is not None
    assert (line.intercept, line.slope) == pytest.approx((intercept, slope), abs=1e-6)
    assert line.spread == pytest.approx(0, abs=1e-6)
    assert line.at(4) == pytest.approx(2 ** (intercept + slope * 4), rel=1e-5)


def test_a_residual_is_in_doublings() -> None:
    line = scaling.Trend(intercept=0.0, slope=-1.0, spread=0.0, points=3)
    assert line.residual(3, 2 * line.at(3)) == 1.0
    assert line.residual(3, line.at(3) / 4) == -2.0


def test_points_that_are_not_told_apart_from_zero_do_not_count() -> None:
    costs = [1.0, 0.5, 0.25, 1e-9, -1.0]
    line = scaling.trend([2, 3, 4, 5, 6], costs, [True, True, True, False, True])
    assert line is not None
    assert (line.points, line.slope) == (3, pytest.approx(-1))


@pytest.mark.parametrize(
    ("costs", "apart"),
    [([1.0, 0.5], [True, True]), ([1.0, 0.5, 0.2], [True, True, False]), ([1.0, 0.5, 0.0], [True] * 3)],
)
def test_two_points_carry_no_trend(costs: list[float], apart: list[bool]) -> None:
    assert scaling.trend(range(2, 2 + len(costs)), costs, apart) is None


def test_the_spread_is_the_root_mean_square_of_the_residuals() -> None:
    bits, costs = [2, 3, 4, 5], [1.0, 0.6, 0.2, 0.13]
    line = scaling.trend(bits, costs, [True] * 4)
    assert line is not None
    residuals = [line.residual(b, c) for b, c in zip(bits, costs, strict=True)]
    assert line.spread == pytest.approx(math.sqrt(sum(r**2 for r in residuals) / 4))
    assert sum(residuals) == pytest.approx(0, abs=1e-9)
