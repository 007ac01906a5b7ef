"""Histograms of weights as the sweep wrote them: which is drawn, how many lie near zero, how centred they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import pruning

if TYPE_CHECKING:
    import pandas as pd

    from deepcompress.report.tables import Tables

SPARSITIES = (0.5, 0.25)  # the source report draws 50 %; what the sweep lacks is drawn at 25 %
NEAR = 0.5  # standard deviations of the dense layer: what counts as near zero


def drawn(data: Tables, method: str) -> tuple[pd.DataFrame, float] | None:
    """The histograms of one pruned model and its sparsity; None where the sweep has none to draw."""
    for sparsity in SPARSITIES:
        rows = pruning.extra(data, "weights", method, sparsity)
        if rows is not None:
            return rows, sparsity
    return None


def near_zero_pct(rows: pd.DataFrame, state: str) -> float:
    """Of the weights that are not zero, the share within NEAR standard deviations of zero, over all layers [%].

    Args:
        rows: Histograms of one pruned model, a row per state, layer and bin; zeros are not in `count`.
        state: `dense` or `masked`; the standard deviation is the dense layer's in both.
    """
    middle, near, every = (rows["low"] + rows["high"]) / 2, 0.0, 0.0
    for layer, dense in rows[rows["state"] == "dense"].groupby("layer"):
        _, deviation = _moments(dense)
        some = rows[(rows["state"] == state) & (rows["layer"] == layer)]
        near += some.loc[middle[some.index].abs() < NEAR * deviation, "count"].sum()
        every += some["count"].sum()
    return float(100 * near / every)


def furthest_from_zero(rows: pd.DataFrame) -> tuple[str, float]:
    """The dense layer whose mean lies furthest from zero, and how far: in its own standard deviations."""
    found = {}
    for layer, dense in rows[rows["state"] == "dense"].groupby("layer", sort=False):
        mean, deviation = _moments(dense)
        if deviation > 0:
            found[str(layer)] = abs(mean) / deviation
    layer = max(found, key=lambda name: found[name])
    return layer, found[layer]


def _moments(bins: pd.DataFrame) -> tuple[float, float]:
    """Mean and standard deviation of one layer's weights, from the middles of the bins."""
    at, n = (bins["low"] + bins["high"]) / 2, bins["count"].sum()
    mean = (at * bins["count"]).sum() / n
    return float(mean), float((((at - mean) ** 2 * bins["count"]).sum() / n) ** 0.5)
