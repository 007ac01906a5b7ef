"""Recommend a model: the smallest file within the limits of `deploy`, and the Pareto front that it stands in.

Everything is measured on validation images; the held-out ones tell afterwards how good the choice was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepcompress.data import store
from deepcompress.data.store import BYTES_PER_MIB
from deepcompress.errors import UserError
from deepcompress.files import mebibytes
from deepcompress.measure import accuracy, passes
from deepcompress.measure.statistics import compare, wilson_interval
from deepcompress.models import checkpoint
from deepcompress.plan_table import BASELINE, Plan

if TYPE_CHECKING:
    from pathlib import Path

    from deepcompress.deploy.settings import Deploy

log = logging.getLogger(__name__)
STAGE = "recommend"
NOT_DEPLOYABLE = ("masked",)  # families: pruned models before fine-tuning
MILLION = 1e6
CONTROL_DROP = ("control_drop_points", "control_drop_points_low", "control_drop_points_high")
UNITS = {
    "max_drop_points": "points",
    "max_size_mib": "MiB",
    "max_macs_million": "million MACs",
    "max_latency_ms": "ms for one image",
}


@dataclass(frozen=True)
class Candidate:
    """A model that may be recommended, and what it is worth."""

    model: str  # its id
    right: int  # right answers on n validation images
    n: int  # validation images
    size_bytes: int  # of the file
    macs: int  # multiply-accumulates for one image
    latency_ms: float | None = None  # median time for one image, where it was measured
    # 95 % interval of `drop_points`, paired by image; None for the baseline.
    drop_interval: tuple[float, float] | None = None
    control: str | None = None  # id of the model that was trained as long, if it has one
    # What it loses to that one on the same images [percent points], with its 95 % interval.
    control_drop: tuple[float, float, float] | None = None

    @property
    def top1_pct(self) -> float:
        """Right answers on validation images [%]."""
        return 100 * self.right / self.n

    @property
    def size_mib(self) -> float:
        """Size of the file [MiB]."""
        return self.size_bytes / BYTES_PER_MIB

    @property
    def macs_million(self) -> float:
        """Multiply-accumulates for one image [millions]."""
        return self.macs / MILLION

    def drop_points(self, baseline: Candidate) -> float:
        """What it loses to the baseline on the same images [percent points]; negative when it wins."""
        return 100 * (baseline.right - self.right) / self.n


def measure(
    plan: Plan,
    paths: Mapping[str, Path],
    folder: Path,
    *,
    batch_size: int,
    device: torch.device,
    timed: bool,
    budget_mib: int,
) -> list[Candidate]:
    """Run every model of the plan that may be recommended on the validation images in `folder`, the baseline first.

    Families that are NOT_DEPLOYABLE are left out. If `timed`, each model is also timed on one image: in PyTorch, in
    32-bit floats, on the CPU. A UserError if a file is damaged, or its class names differ from the data set's.
    """
    fit = store.open_fit(folder, budget_mib)
    files = [folder / "meta.json", *folder.glob("validation_*")]
    images = passes.Images("validation data", fit.validation, fit.meta.classes, passes.digest(files))
    answers: dict[str, np.ndarray] = {}
    candidates: list[Candidate] = []
    listed = [row for row in plan if row.family not in NOT_DEPLOYABLE]
    passed = passes.measured([paths[row.id] for row in listed], images, STAGE, batch_size=batch_size, device=device)
    for row, measured in zip(listed, passed, strict=True):
        right = answers[row.id] = accuracy.top_k_correct(measured.logits, images.labels, 1).numpy()
        time = _latency_ms(paths[row.id]) if timed else None
        candidates.append(Candidate(row.id, int(right.sum()), len(right), measured.size_bytes, measured.macs, time))
        log.info("%s: %.2f %% top-1 of %d validation images", row.id, candidates[-1].top1_pct, len(right))
    return [_against(candidate, plan[candidate.model].control, answers) for candidate in candidates]


def most_of_a_class(folder: Path) -> int:
    """How many validation images in `folder` the class with most has."""
    return int(np.bincount(store.open_fit(folder).validation.labels).max())


def _against(candidate: Candidate, control: str | None, answers: Mapping[str, np.ndarray]) -> Candidate:
    """A candidate beside the baseline and its control, where that was measured."""
    if candidate.model == BASELINE:
        return candidate
    right = answers[candidate.model]
    beside = replace(candidate, drop_interval=_lost(answers[BASELINE], right)[1:])
    if control is None or control not in answers:
        return beside
    return replace(beside, control=control, control_drop=_lost(answers[control], right))


def _lost(reference: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    """Points lost to a reference, and the 95 % interval; no negative zeros."""
    lost = compare(reference, right)
    points, low, high = (round(value, 2) + 0.0 for value in (lost.points, lost.low, lost.high))
    return points, low, high


def _latency_ms(path: Path) -> float:
    """Median time of one image; a model at a time, so that no two large ones share the memory."""
    loaded = checkpoint.load(path)
    image = torch.zeros(1, 3, loaded.view.size, loaded.view.size)
    with torch.inference_mode():
        return float(np.median(passes.interleaved({path: lambda: loaded.model(image)})[path]))


def recommendation(candidates: Sequence[Candidate], limits: Deploy, most_of_a_class: int = 0) -> dict[str, Any]:
    """What results/recommendation.json says: the model, why, and the numbers behind it; errors as `ranked`.

    `most_of_a_class` are the validation images of the class that has most: who always names it has so many right.
    """
    chosen, *others = ranked(candidates, limits)
    baseline = _baseline(candidates)
    reason = _reason(chosen, 1 + len(others), len(candidates), baseline, limits)
    return {
        "model": chosen.model,
        "reason": reason + _warning(baseline, most_of_a_class),
        "limits": {name: getattr(limits, name) for name in UNITS},
        "runner_up": others[0].model if others else None,
        "n": chosen.n,
        "validation": {
            "top1_pct": round(chosen.top1_pct, 2),
            "baseline_top1_pct": round(baseline.top1_pct, 2),
            **_drop(chosen, baseline),
        },
        "size_bytes": chosen.size_bytes,
        "times_smaller": round(baseline.size_bytes / chosen.size_bytes, 2),
        "macs": chosen.macs,
    }


def rows(candidates: Sequence[Candidate], limits: Deploy) -> list[dict[str, Any]]:
    """What results/recommendation.csv says: a row per model, with its interval and why it was not allowed."""
    baseline, undominated = _baseline(candidates), front(candidates)
    listed = []
    for candidate in candidates:
        low, high = wilson_interval(candidate.right, candidate.n)
        violations = violated(candidate, baseline, limits)
        listed.append(
            {
                "model": candidate.model,
                "validation_top1_pct": round(candidate.top1_pct, 2),
                "validation_top1_pct_low": round(100 * low, 2),
                "validation_top1_pct_high": round(100 * high, 2),
                "n": candidate.n,
                **_drop(candidate, baseline),
                "control": candidate.control,
                **dict(zip(CONTROL_DROP, candidate.control_drop or (None, None, None), strict=True)),
                "size_mib": round(candidate.size_mib, 4),
                "macs_million": round(candidate.macs_million, 4),
                "latency_ms": None if candidate.latency_ms is None else round(candidate.latency_ms, 3),
                "on_front": candidate.model in undominated,
                "allowed": not violations,
                "why_not": _why_not(violations, limits),
            }
        )
    return listed


def ranked(candidates: Sequence[Candidate], limits: Deploy) -> list[Candidate]:
    """The models within all limits, the recommended one first.

    The smallest file wins; of equal files the one with fewer MACs, then the more accurate one, then the id that comes
    first in the alphabet. If no model is, a UserError says which limit excludes most, and which model comes nearest.
    """
    violations = {row.model: violated(row, _baseline(candidates), limits) for row in candidates}
    allowed = [row for row in candidates if not violations[row.model]]
    if not allowed:
        raise UserError(_none_allowed(violations, limits))
    return sorted(allowed, key=lambda row: (row.size_bytes, row.macs, -row.right, row.model))


def front(candidates: Sequence[Candidate]) -> set[str]:
    """Ids of the models that no other one dominates: at least as good in accuracy, bytes and MACs, better in one.

    Two models of equal worth do not dominate each other.
    """
    worths = np.array([(row.right, -row.size_bytes, -row.macs) for row in candidates]).reshape(-1, 3)
    nowhere_worse = np.all(worths >= worths[:, None], axis=2)  # of the model of each column beside that of the row
    somewhere_better = np.any(worths > worths[:, None], axis=2)
    dominated = np.any(nowhere_worse & somewhere_better, axis=1)
    return {row.model for row, beaten in zip(candidates, dominated, strict=True) if not beaten}


def violated(candidate: Candidate, baseline: Candidate, limits: Deploy) -> dict[str, tuple[float, float]]:
    """The limits that a model exceeds: name -> (its value, the limit); ValueError if it was not timed and had to be."""
    values = {
        "max_drop_points": candidate.drop_interval[1]
        if limits.confident and candidate.drop_interval
        else candidate.drop_points(baseline),
        "max_size_mib": candidate.size_mib,
        "max_macs_million": candidate.macs_million,
        "max_latency_ms": candidate.latency_ms,
    }
    exceeded = {}
    for name, value in values.items():
        limit = getattr(limits, name)
        if limit is None:
            continue
        if value is None:
            raise ValueError(f"{candidate.model} was not timed, but {name} is set")
        if value > limit:
            exceeded[name] = (value, limit)
    return exceeded


def _baseline(candidates: Sequence[Candidate]) -> Candidate:
    return next(row for row in candidates if row.model == BASELINE)


def _drop(candidate: Candidate, baseline: Candidate) -> dict[str, float | None]:
    low, high = candidate.drop_interval or (None, None)
    drop = round(candidate.drop_points(baseline), 2) + 0.0  # no negative zero
    return {"drop_points": drop, "drop_points_low": low, "drop_points_high": high}


def _reason(chosen: Candidate, allowed: int, compared: int, baseline: Candidate, limits: Deploy) -> str:
    kept = [f"at most {_amount(name, limit)}" for name in UNITS if (limit := getattr(limits, name)) is not None]
    if limits.confident:
        kept[0] += " by the upper end of the 95 % interval"
    smaller, change = _beside(chosen, baseline) if chosen is not baseline else ("", "")
    time = "" if chosen.latency_ms is None else f", {chosen.latency_ms:.3g} ms for one image in PyTorch on this machine"
    return (
        f"{chosen.model} has the smallest file of the {allowed} of {compared} models with {', '.join(kept)}: "
        f"{mebibytes(chosen.size_mib)} MiB{smaller}; "
        f"{chosen.top1_pct:.1f} % top-1 on {chosen.n:,} validation images{change}{time}."
    )


def _beside(chosen: Candidate, baseline: Candidate) -> tuple[str, str]:
    """How much smaller than the baseline a model is, and how much less right, each behind a comma."""
    drop = round(chosen.drop_points(baseline), 2)
    change = f"{_points(abs(drop))} {'below' if drop > 0 else 'above'}" if drop else "the same as"
    low, high = chosen.drop_interval or (0.0, 0.0)
    ends = ""
    if chosen.drop_interval:  # measured on one training; replicates are measured on held-out images alone
        ends = f" (95 % interval over images, not trainings: {0 - high:+.1f} to {0 - low:+.1f})".replace("-", "−")
    times = baseline.size_bytes / chosen.size_bytes
    return f", {times:.1f} times smaller than the baseline", f", {change} the baseline{ends}"


def _warning(baseline: Candidate, most_of_a_class: int) -> str:
    """A sentence behind a blank where the baseline is not shown to have learnt anything; else nothing."""
    low, _ = wilson_interval(baseline.right, baseline.n)
    if low * baseline.n > most_of_a_class:
        return ""
    return (
        f" But the baseline is not shown to have learnt anything: {baseline.top1_pct:.1f} % top-1, where always naming "
        f"one class gives {100 * most_of_a_class / baseline.n:.1f} %; train it longer before you choose."
    )


def _none_allowed(violations: Mapping[str, dict[str, tuple[float, float]]], limits: Deploy) -> str:
    counts = {name: sum(name in exceeded for exceeded in violations.values()) for name in UNITS}
    strictest = max(counts, key=lambda name: counts[name])

    def distance(model: str) -> tuple[int, float, str]:
        # A limit of zero points has no share to exceed it by: one point counts as one.
        shares = [(value - limit) / (limit or 1.0) for value, limit in violations[model].values()]
        return len(shares), max(shares), model

    nearest = min(violations, key=distance)
    why = _why_not(violations[nearest], limits)
    return (
        f"params.yaml: no model keeps to the limits under deploy; {strictest} {getattr(limits, strictest):g} excludes "
        f"most, {counts[strictest]} of {len(violations)}; nearest is {nearest} ({why})"
    )


def _why_not(violations: Mapping[str, tuple[float, float]], limits: Deploy) -> str:
    """Each limit that is exceeded; of `confident` limits the upper end of the loss counts."""
    up_to = "up to " if limits.confident else ""
    return "; ".join(
        f"{up_to if name == 'max_drop_points' else ''}{_amount(name, value)}, at most {limit:g}"
        for name, (value, limit) in violations.items()
    )


def _amount(name: str, value: float) -> str:
    return f"{_points(value)} lost" if name == "max_drop_points" else f"{value:.3g} {UNITS[name]}"


def _points(value: float) -> str:
    return f"{value:.3g} point{'' if value == 1 else 's'}"
