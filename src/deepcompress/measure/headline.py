"""The few rounded numbers that `dvc metrics diff` shows (metrics/headline.json), from the evaluation's rows.

A role (what a model is to the reader) names a model id; a role whose model is not in the table is left out.
All that there is about each model stands in metrics/evaluation.csv.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.measure.rows import decimals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from deepcompress.measure.rows import Row

BASELINE = "baseline"
ROLES = {
    BASELINE: "baseline",
    "pruned": "shipped/pruned",
    "shipped": "shipped/quantized",
    "combined": "combined/prune_distill_quantize",
}
QUALITY = (
    "top1_pct",
    "top1_pct_low",
    "top1_pct_high",
    "top5_pct",
    "cross_entropy_loss",
    "calibration_error_pct",
)
COMPARISON = ("top1_pct", "difference_points", "agreement_with_baseline_pct")
MIB = 2**20
MILLION = 1e6


def headline(rows: Iterable[Row], roles: Mapping[str, str] = ROLES) -> dict[str, dict[str, float | None]]:
    """Role -> quantity -> number: of the baseline all that says how good it is, of others how they compare.

    Args:
        rows: Of metrics/evaluation.csv, the baseline's among them.
        roles: Role -> model id; the role `baseline` is what others are compared with.
    """
    by_id = {row["model"]: row for row in rows}
    baseline = by_id[roles[BASELINE]]
    numbers = {"heldout": {"n_images": baseline["n"]}, BASELINE: _quality(baseline) | _cost(baseline)}
    for role, model in roles.items():
        if role != BASELINE and model in by_id:
            numbers[role] = _comparison(by_id[model], baseline) | _cost(by_id[model])
    return numbers


def _quality(row: Row) -> dict[str, float | None]:
    return {name: row[name] for name in QUALITY}


def _cost(row: Row) -> dict[str, float | None]:
    return {
        "parameters_million": decimals(row["parameters"] / MILLION),
        "macs_million": decimals(row["macs"] / MILLION),
        "size_mib": decimals(row["size_bytes"] / MIB),
        "bits_per_weight": row["bits_per_weight"],
    }


def _comparison(row: Row, baseline: Row) -> dict[str, float | None]:
    times_smaller = decimals(baseline["size_bytes"] / row["size_bytes"])
    return {name: row[name] for name in COMPARISON} | {"times_smaller": times_smaller}
