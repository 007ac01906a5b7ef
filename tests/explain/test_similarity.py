"""Similarities of maps: known values, the formula of SSIM, intervals, and maps with nothing in them."""

from __future__ import annotations

import numpy as np
import pytest

from deepcompress.errors import UserError
from deepcompress.explain import similarity


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).random((5, 16, 16)).astype(np.float32)


def test_equal_maps_are_alike_in_every_way(maps: np.ndarray) -> None:
    np.testing.assert_allclose(similarity.ssim(maps, maps, window=7), 1)
    np.testing.assert_allclose(similarity.cosine(maps, maps), 1, rtol=1e-6)
    np.testing.assert_allclose(similarity.rank_correlation(maps, maps), 1)


def test_ssim_is_the_published_formula_over_a_single_window() -> None:
    """A window as large as the maps leaves one place: the formula with sample variances."""
    a, b = np.random.default_rng(3).random((2, 7, 7))
    c1, c2, covariance = 0.01**2, 0.03**2, np.cov(a.ravel(), b.ravel())[0, 1]
    expected = (2 * a.mean() * b.mean() + c1) * (2 * covariance + c2)
    expected /= (a.mean() ** 2 + b.mean() ** 2 + c1) * (a.var(ddof=1) + b.var(ddof=1) + c2)
    assert similarity.ssim(a[None], b[None], window=7)[0] == pytest.approx(expected)


def test_cosine_and_rank_correlation_by_hand() -> None:
    first, second = np.array([[[1.0, 0.0], [0.0, 0.0]]]), np.array([[[3.0, 4.0], [0.0, 0.0]]])
    assert similarity.cosine(first, second)[0] == pytest.approx(0.6)
    rising, falling = np.arange(4.0).reshape(1, 2, 2), np.arange(4.0)[::-1].reshape(1, 2, 2)
    assert similarity.rank_correlation(rising, falling**2)[0] == pytest.approx(-1)


def test_rank_correlation_shares_ranks_among_ties_as_pandas_does(maps: np.ndarray) -> None:
    import pandas as pd

    tied = np.round(maps, 1)
    ranked = [pd.Series(a.ravel()).rank().corr(pd.Series(b.ravel()).rank()) for a, b in zip(tied, maps, strict=True)]
    np.testing.assert_allclose(similarity.rank_correlation(tied, maps), ranked)


def test_the_null_compares_with_the_map_of_the_next_image(maps: np.ndarray) -> None:
    values = similarity.ssim_to_next(maps, maps, window=7)
    assert values[0] == pytest.approx(similarity.ssim(maps[:1], maps[1:2], window=7)[0])
    assert values[-1] == pytest.approx(similarity.ssim(maps[-1:], maps[:1], window=7)[0])
    assert values.max() < 0.5


def test_a_map_with_nothing_in_it_is_left_out(maps: np.ndarray) -> None:
    other = maps.copy()
    other[2] = 0
    for measure in (similarity.cosine, similarity.rank_correlation, lambda a, b: similarity.ssim(a, b, window=7)):
        values = measure(maps, other)
        assert np.isnan(values).tolist() == [False, False, True, False, False]
        assert similarity.mean(values).n == 4


def test_the_interval_of_a_mean_by_hand() -> None:
    mean = similarity.mean(np.array([1.0, 2.0, 3.0, np.nan]))
    reach = 1.96 / np.sqrt(3)
    assert (mean.value, mean.n) == (2.0, 3)
    assert (mean.low, mean.high) == pytest.approx((2 - reach, 2 + reach))
    assert np.isnan(similarity.mean(np.array([1.0])).value)  # of one image


def test_a_window_larger_than_the_maps_is_refused(maps: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"explain.ssim_window must be at most 16, got 17"):
        similarity.ssim(maps, maps, window=17)
