"""Every model of the plan on the held-out images: metrics/evaluation.csv, per_class.csv, pairs.csv, and the headline.

Arithmetic on logits and counts alone. Rounded so that a difference in the last bits of a float shows nowhere: percents
to 2 decimals, losses and p-values to 4 significant digits.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from deepcompress import files
from deepcompress.data.heldout import open_heldout
from deepcompress.data.store import BYTES_PER_MIB
from deepcompress.errors import UserError
from deepcompress.measure import accuracy, passes, statistics
from deepcompress.measure.statistics import decimals, significant
from deepcompress.params import DEVICE_BUDGET_MIB
from deepcompress.plan_table import BASELINE, Plan

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from torch import Tensor

    from deepcompress.measure.passes import Measurement
    from deepcompress.measure.settings import Evaluate

    Row = dict[str, Any]

log = logging.getLogger(__name__)
STAGE = "evaluate"
PAIRED = (
    "difference_points",
    "difference_points_low",
    "difference_points_high",
    "mcnemar_p",
    "agreement_with_baseline_pct",
    "kl_to_baseline_nats",
)
ATTENTION, ATTENTION_TEACHER, JITTERED = "attention_ssim", "attention_ssim_teacher", "jittered_top1_pct"
EXPLAINED = (ATTENTION, ATTENTION_TEACHER, JITTERED)
ROLES = {
    BASELINE: BASELINE,
    "pruned": "shipped/pruned",
    "shipped": "shipped/quantized",
    "combined": "combined/prune_distill_quantize",
}  # what a model is to the reader -> its id
QUALITY = ("top1_pct", "top1_pct_low", "top1_pct_high", "top5_pct", "cross_entropy_loss", "calibration_error_pct")
COMPARISON = {  # column of the evaluation -> its name in the headline, which says against what
    "top1_pct": "top1_pct",
    "difference_points": "points_to_baseline",
    "agreement_with_baseline_pct": "agreement_with_baseline_pct",
}
MILLION = 1e6


def evaluate(
    models: dict[str, Path],
    pairs: list[tuple[str, str]],
    heldout_folder: Path,
    settings: Evaluate,
    device: torch.device,
    budget_mib: int = DEVICE_BUDGET_MIB,
) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """Measure every model.

    Args:
        models: The file of each model id, the baseline first.
        pairs: Of a model and the one that it is to be compared with besides the baseline.
        budget_mib: See `store.Arrays`.

    Returns:
        The rows of each table (`evaluation`, `per_class` and `pairs`), and which images each model got right, `packed`.

    Raises:
        UserError: If a model file is damaged, or made for other classes than the data has.
    """
    opened = open_heldout(heldout_folder, budget_mib)
    digest = passes.digest(heldout_folder.iterdir())
    images = passes.Images("held-out data", opened.arrays, opened.meta.classes, digest)
    labels, measured = images.labels, dict[str, passes.Measurement]()
    rows: list[Row] = []
    per_class: list[Row] = []
    passed = passes.measured(models.values(), images, STAGE, batch_size=settings.batch_size, device=device)
    for model, own in zip(models, tqdm(passed, "evaluate", len(models), unit="model", disable=None), strict=True):
        bins, baseline = settings.calibration_bins, measured.get(BASELINE)
        rows.append(evaluation_row(model, own, labels, baseline=baseline, calibration_bins=bins))
        per_class += per_class_rows(model, own, labels, images.classes)
        measured[model] = own
        log.info("%s: %.2f %% top-1 of %d held-out images", model, rows[-1]["top1_pct"], len(labels))
    paired = [pair_row(model, other, measured[model], measured[other], labels) for model, other in pairs]
    tables = {"evaluation": rows, "per_class": per_class, "pairs": paired}
    return tables, {model: packed(_right(own, labels)) for model, own in measured.items()}


def packed(right: Bool[Tensor, " images"]) -> str:
    """Which images were right, as hexadecimal digits: eight images in two, the first in the highest bit."""
    return np.packbits(right.numpy()).tobytes().hex()


# Rows.


def evaluation_row(
    model: str,
    measured: Measurement,
    labels: Int[Tensor, " images"],
    *,
    baseline: Measurement | None,
    calibration_bins: int,
) -> Row:
    """All that the table says of one model, by column; None where there is nothing to say.

    The PAIRED columns compare it with the baseline on the same images; None in its place leaves them empty.
    """
    right, n, logits = int(_right(measured, labels).sum()), len(labels), measured.logits
    low, high = statistics.wilson_interval(right, n)
    compared = [None] * len(PAIRED) if baseline is None else _compared(measured, baseline, labels)
    return {
        "model": model,
        "top1_pct": decimals(100 * right / n),
        "top1_pct_low": decimals(100 * low),
        "top1_pct_high": decimals(100 * high),
        "top5_pct": decimals(100 * int(accuracy.top_k_correct(logits, labels, 5).sum()) / n),
        "n": n,
        "cross_entropy_loss": significant(accuracy.cross_entropy(logits, labels)),
        "calibration_error_pct": decimals(100 * accuracy.expected_calibration_error(logits, labels, calibration_bins)),
        **dict(zip(PAIRED, compared, strict=True)),
        "parameters": measured.parameters,
        "nonzero_weights": measured.nonzero_weights,
        "macs": measured.macs,
        "size_bytes": measured.size_bytes,
        "bits_per_weight": decimals(8 * measured.size_bytes / measured.parameters),
    }


def pair_row(model: str, reference: str, own: Measurement, other: Measurement, labels: Int[Tensor, " images"]) -> Row:
    """How a model does against another one than the baseline, on the same images: its control, or its teacher.

    Returns:
        `model`, `reference`, `n` images, `difference_points` with its interval, `mcnemar_p`,
        `agreement_pct`, the percentage of images on which both answer the same class, and `kl_nats`,
        KL(reference || model) per image.
    """
    columns = (*PAIRED[:4], "agreement_pct", "kl_nats")
    compared = dict(zip(columns, _compared(own, other, labels), strict=True))
    return {"model": model, "reference": reference, "n": len(labels), **compared}


def per_class_rows(
    model: str, measured: Measurement, labels: Int[Tensor, " images"], classes: Sequence[str]
) -> list[Row]:
    """One row per class: `model`, `class`, `n` images, and `top1_pct` (None for a class without images)."""
    shares = accuracy.per_class_accuracy(_right(measured, labels), labels, len(classes)).tolist()
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    return [
        {"model": model, "class": name, "n": n, "top1_pct": decimals(100 * share)}
        for name, n, share in zip(classes, counts, shares, strict=True)
    ]


def _compared(measured: Measurement, other: Measurement, labels: Int[Tensor, " images"]) -> list[float | None]:
    """The values of PAIRED."""
    ours, theirs = _right(measured, labels).numpy(), _right(other, labels).numpy()
    difference = statistics.compare(ours, theirs)
    kl = accuracy.kl_divergence(other.logits.double(), measured.logits.double())
    return [
        *(decimals(points) for points in (difference.points, difference.low, difference.high)),
        significant(difference.p),
        decimals(100 * accuracy.top1_agreement(measured.logits, other.logits)),
        significant(round(kl.item(), 6)),  # below a millionth it is rounding of the logits
    ]


def _right(measured: Measurement, labels: Int[Tensor, " images"]) -> Bool[Tensor, " images"]:
    return accuracy.top_k_correct(measured.logits, labels, 1)


# What the explain stage found: on validation images, unlike the rest; results/explain has n and intervals.


def with_explained(rows: Iterable[Row], folder: Path, plan: Plan) -> list[Row]:
    """The rows of the evaluation table, each with what the explain stage wrote to `folder` behind its own.

    Returns:
        `attention_ssim`: the mean SSIM of a model's attention maps with the baseline's, at the finer layer;
        `attention_ssim_teacher`: the same with those of the student's own teacher; `jittered_top1_pct`: accuracy
        under colour jitter [%]; None where explain did not look.

    Raises:
        UserError: If a table is missing or damaged, or lacks a column.
    """
    path, learned = folder / "attention.csv", {row.id: row.teacher for row in plan if row.family == "students"}
    columns: dict[str, Row] = {}
    try:
        maps = files.read_rows(path)
        for row in maps:
            model, reference = row["model"], row["teacher"]
            # That of a control with a teacher, which it never saw, belongs nowhere.
            own = reference in (BASELINE, learned.get(model))
            if row["role"] == maps[0]["role"] and own:
                column = ATTENTION if reference == BASELINE else ATTENTION_TEACHER
                columns.setdefault(model, {})[column] = significant(row["ssim"])
        path = folder / "colour.csv"
        for row in files.read_rows(path):
            columns.setdefault(row["model"], {})[JITTERED] = decimals(row[JITTERED])
    except KeyError as missing:
        raise UserError(f"{path}: lacks the column {missing.args[0]}; run the explain stage again") from None
    return [{**row, **dict.fromkeys(EXPLAINED), **columns.get(row["model"], {})} for row in rows]


# The few rounded numbers that `dvc metrics diff` shows; all that there is stands in metrics/evaluation.csv.


def headline(
    rows: Iterable[Row], pairs: Iterable[Row], plan: Plan, roles: Mapping[str, str] = ROLES
) -> dict[str, dict[str, float | None]]:
    """Role -> quantity -> number: of the baseline all that says how good it is, of others how they compare.

    `points_to_control` compares with the model that was trained as long; None where there is none. The rows are those
    of metrics/evaluation.csv and pairs.csv; a role whose model is not among them is left out, but for the baseline.
    """
    by_id = {row["model"]: row for row in rows}
    points = {(pair["model"], pair["reference"]): pair["difference_points"] for pair in pairs}
    baseline = by_id[roles[BASELINE]]
    numbers = {"heldout": {"n_images": baseline["n"]}, BASELINE: {name: baseline[name] for name in QUALITY}}
    numbers[BASELINE] |= _cost(baseline)
    for role, model in roles.items():
        if role != BASELINE and model in by_id:
            row = by_id[model]
            smaller = {"times_smaller": decimals(baseline["size_bytes"] / row["size_bytes"])}
            compared = {shown: row[name] for name, shown in COMPARISON.items()}
            compared["points_to_control"] = points.get((model, plan.control(model)))
            numbers[role] = compared | smaller | _cost(row)
    return numbers


def _cost(row: Row) -> dict[str, float | None]:
    amounts = {
        "parameters_million": row["parameters"] / MILLION,
        "macs_million": row["macs"] / MILLION,
        "size_mib": row["size_bytes"] / BYTES_PER_MIB,
    }
    rounded = {name: significant(amount) if amount < 0.01 else decimals(amount) for name, amount in amounts.items()}
    return {**rounded, "bits_per_weight": row["bits_per_weight"]}
