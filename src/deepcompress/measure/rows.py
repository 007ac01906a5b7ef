"""A model's answers to the held-out images -> its rows of metrics/evaluation.csv and metrics/per_class.csv.

Arithmetic on logits and counts alone. Rounded so that a difference in the last bits of a float shows nowhere:
percents to 2 decimals, losses and p-values to 4 significant digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from deepcompress.measure import accuracy, agreement, statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    Row = dict[str, Any]

PAIRED = (
    "difference_points",
    "difference_points_low",
    "difference_points_high",
    "mcnemar_p",
    "agreement_with_baseline_pct",
    "kl_to_baseline_nats",
)


@dataclass(frozen=True)
class Answers:
    """What one pass over the held-out images and one look at the model yield.

    Attributes:
        logits: In the order of the images.
        parameters: All of them, biases and batch norms included.
        nonzero_weights: Of convolutions and linear layers, those that are not zero.
        macs: Multiply-accumulates for one image.
        size_bytes: Of the file on disk.
    """

    logits: Float[Tensor, "images classes"]
    parameters: int
    nonzero_weights: int
    macs: int
    size_bytes: int


def evaluation_row(
    model: str,
    answers: Answers,
    labels: Int[Tensor, " images"],
    *,
    baseline: Answers | None,
    calibration_bins: int,
) -> Row:
    """All that the table says of one model.

    Args:
        model: Its id.
        answers: Its logits and counts.
        labels: Right class of each held-out image.
        baseline: The model that the paired columns compare with, on the same images; None leaves them empty.
        calibration_bins: Of the expected calibration error.

    Returns:
        Column name -> value; None where there is nothing to say.
    """
    return {
        "model": model,
        **_alone(answers, labels, calibration_bins),
        **(dict.fromkeys(PAIRED) if baseline is None else _paired(answers, baseline, labels)),
        "parameters": answers.parameters,
        "nonzero_weights": answers.nonzero_weights,
        "macs": answers.macs,
        "size_bytes": answers.size_bytes,
        "bits_per_weight": decimals(8 * answers.size_bytes / answers.parameters),
    }


def pair_row(model: str, reference: str, answers: Answers, theirs: Answers, labels: Int[Tensor, " images"]) -> Row:
    """How a model does against another one than the baseline, on the same images: a control, or its twin.

    Returns:
        `model`, `reference`, `n` images, `difference_points` with its bootstrap interval, `mcnemar_p`,
        `agreement_pct`, the share of images on which both answer the same class, and `kl_nats`,
        KL(reference || model) per image.
    """
    found = _paired(answers, theirs, labels)
    said = {name: found[name] for name in PAIRED[:4]}
    agreement_pct, kl = found["agreement_with_baseline_pct"], found["kl_to_baseline_nats"]
    return {
        "model": model,
        "reference": reference,
        "n": len(labels),
        **said,
        "agreement_pct": agreement_pct,
        "kl_nats": kl,
    }


def per_class_rows(model: str, answers: Answers, labels: Int[Tensor, " images"], classes: Sequence[str]) -> list[Row]:
    """One row per class: `model`, `class`, `n` images, and `top1_pct` (None for a class without images)."""
    shares = accuracy.per_class_accuracy(_right(answers, labels), labels, len(classes)).tolist()
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    return [
        {"model": model, "class": name, "n": n, "top1_pct": decimals(100 * share)}
        for name, n, share in zip(classes, counts, shares, strict=True)
    ]


def decimals(number: float) -> float | None:
    """Rounded to 2 decimals, without a negative zero; None where it is not finite (JSON has no NaN)."""
    return round(number, 2) + 0.0 if math.isfinite(number) else None


def significant(number: float) -> float | None:
    """Rounded to 4 significant digits; None where it is not finite."""
    return float(f"{number:.4g}") + 0.0 if math.isfinite(number) else None


def _alone(answers: Answers, labels: Int[Tensor, " images"], calibration_bins: int) -> Row:
    right, n = int(_right(answers, labels).sum()), len(labels)
    low, high = statistics.wilson_interval(right, n)
    calibration_error = accuracy.expected_calibration_error(answers.logits, labels, calibration_bins)
    return {
        "top1_pct": decimals(100 * right / n),
        "top1_pct_low": decimals(100 * low),
        "top1_pct_high": decimals(100 * high),
        "top5_pct": decimals(100 * int(accuracy.top_k_correct(answers.logits, labels, 5).sum()) / n),
        "n": n,
        "cross_entropy_loss": significant(accuracy.cross_entropy(answers.logits, labels)),
        "calibration_error_pct": decimals(100 * calibration_error),
    }


def _paired(answers: Answers, baseline: Answers, labels: Int[Tensor, " images"]) -> Row:
    ours, theirs = _right(answers, labels).numpy(), _right(baseline, labels).numpy()
    low, high = statistics.paired_bootstrap(ours, theirs)
    agree = agreement.top1_agreement(answers.logits, baseline.logits)
    followed = agreement.kl_divergence(baseline.logits.double(), answers.logits.double())
    values = (
        decimals(100 * (int(ours.sum()) - int(theirs.sum())) / len(labels)),
        decimals(low),
        decimals(high),
        significant(statistics.mcnemar(ours, theirs)),
        decimals(100 * agree),
        # Below a millionth it is rounding of the logits.
        significant(round(followed.item(), 6)),
    )
    return dict(zip(PAIRED, values, strict=True))


def _right(answers: Answers, labels: Int[Tensor, " images"]) -> Bool[Tensor, " images"]:
    return accuracy.top_k_correct(answers.logits, labels, 1)
