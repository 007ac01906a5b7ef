"""Choose the model to hand over: the smallest file that keeps to the limits, and the Pareto front that it stands in.

Numbers in, numbers out, free of torch. All of it is settled on validation images; the held-out ones tell
afterwards how good the choice was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepcompress.deploy.candidate import BASELINE
from deepcompress.errors import UserError
from deepcompress.measure.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepcompress.deploy.candidate import Candidate
    from deepcompress.deploy.settings import Deploy

UNITS = {
    "max_drop_points": "points",
    "max_size_mib": "MiB",
    "max_macs_million": "million MACs",
    "max_latency_ms": "ms for one image",
}


def front(candidates: Sequence[Candidate]) -> set[str]:
    """Ids of the models that no other one dominates: at least as good in accuracy, bytes and MACs, better in one.

    Two models of equal worth do not dominate each other.
    """
    worth = {one.model: (one.right, -one.size_bytes, -one.macs) for one in candidates}

    def dominated(mine: tuple[int, int, int]) -> bool:
        return any(
            theirs != mine and all(a >= b for a, b in zip(theirs, mine, strict=True)) for theirs in worth.values()
        )

    return {model for model, mine in worth.items() if not dominated(mine)}


def broken(one: Candidate, baseline: Candidate, limits: Deploy) -> dict[str, tuple[float, float]]:
    """The limits that a model does not keep to: name -> (its value, the limit).

    Raises:
        ValueError: If a latency limit is set and the model was not timed.
    """
    values = {
        "max_drop_points": one.drop_points(baseline),
        "max_size_mib": one.size_mib,
        "max_macs_million": one.macs_million,
        "max_latency_ms": one.latency_ms,
    }
    found = {}
    for name, value in values.items():
        limit = getattr(limits, name)
        if limit is not None and value is None:
            raise ValueError(f"{one.model} was not timed, but {name} is set")
        if limit is not None and value is not None and value > limit:
            found[name] = (value, limit)
    return found


def ranked(candidates: Sequence[Candidate], limits: Deploy) -> list[Candidate]:
    """The models that keep to all limits, the one to hand over first.

    The smallest file wins; of equal files the one with fewer MACs, then the more accurate one, then the id that
    comes first in the alphabet.

    Raises:
        UserError: If no model keeps to them; says which limit excludes most, and which model comes nearest.
    """
    baseline = _baseline(candidates)
    good = [one for one in candidates if not broken(one, baseline, limits)]
    if not good:
        raise UserError(_none(candidates, baseline, limits))
    return sorted(good, key=lambda one: (one.size_bytes, one.macs, -one.right, one.model))


def recommendation(candidates: Sequence[Candidate], limits: Deploy) -> dict[str, Any]:
    """What results/recommendation.json says: the model, why, and the numbers behind it."""
    chosen, *others = ranked(candidates, limits)
    baseline = _baseline(candidates)
    return {
        "model": chosen.model,
        "reason": _reason(chosen, 1 + len(others), len(candidates), baseline, limits),
        "limits": {name: getattr(limits, name) for name in UNITS},
        "runner_up": others[0].model if others else None,
        "n": chosen.n,
        "validation": {
            "top1_pct": round(chosen.top1_pct, 2),
            "baseline_top1_pct": round(baseline.top1_pct, 2),
            "drop_points": round(chosen.drop_points(baseline), 2) + 0.0,
            **_ends(chosen),
        },
        "size_bytes": chosen.size_bytes,
        "times_smaller": round(baseline.size_bytes / chosen.size_bytes, 2),
        "macs": chosen.macs,
    }


def rows(candidates: Sequence[Candidate], limits: Deploy) -> list[dict[str, Any]]:
    """What results/recommendation.csv says: a row per model, with its interval and why it was not allowed."""
    baseline, undominated = _baseline(candidates), front(candidates)
    found = []
    for one in candidates:
        low, high = wilson_interval(one.right, one.n)
        faults = broken(one, baseline, limits)
        found.append(
            {
                "model": one.model,
                "validation_top1_pct": round(one.top1_pct, 2),
                "validation_top1_pct_low": round(100 * low, 2),
                "validation_top1_pct_high": round(100 * high, 2),
                "n": one.n,
                "drop_points": round(one.drop_points(baseline), 2) + 0.0,
                **_ends(one),
                "size_mib": round(one.size_mib, 4),
                "macs_million": round(one.macs_million, 4),
                "latency_ms": None if one.latency_ms is None else round(one.latency_ms, 3),
                "on_front": one.model in undominated,
                "allowed": not faults,
                "why_not": "; ".join(_fault(name, *numbers) for name, numbers in faults.items()),
            }
        )
    return found


def _baseline(candidates: Sequence[Candidate]) -> Candidate:
    return next(one for one in candidates if one.model == BASELINE)


def _ends(one: Candidate) -> dict[str, float | None]:
    low, high = one.drop_interval or (None, None)
    return {"drop_points_low": low, "drop_points_high": high}


def _reason(chosen: Candidate, allowed: int, compared: int, baseline: Candidate, limits: Deploy) -> str:
    kept = [f"at most {_amount(name, limit)}" for name in UNITS if (limit := getattr(limits, name)) is not None]
    loses = round(chosen.drop_points(baseline), 2)
    change = f"{_points(abs(loses))} {'below' if loses > 0 else 'above'}" if loses else "the same as"
    low, high = chosen.drop_interval or (0.0, 0.0)
    ends = f" (95 % interval {0 - high:+.1f} to {0 - low:+.1f})".replace("-", "−") if chosen.drop_interval else ""
    time = "" if chosen.latency_ms is None else f", {chosen.latency_ms:.3g} ms for one image in PyTorch on this machine"
    return (
        f"{chosen.model} has the smallest file of the {allowed} of {compared} models with {', '.join(kept)}: "
        f"{chosen.size_mib:.2f} MiB, {baseline.size_bytes / chosen.size_bytes:.1f} times smaller than the baseline; "
        f"{chosen.top1_pct:.1f} % top-1 on {chosen.n:,} validation images, {change} the baseline{ends}{time}."
    )


def _amount(name: str, value: float) -> str:
    return f"{_points(value)} lost" if name == "max_drop_points" else f"{value:.3g} {UNITS[name]}"


def _points(value: float) -> str:
    return f"{value:.3g} point{'' if value == 1 else 's'}"


def _fault(name: str, value: float, limit: float) -> str:
    return f"{_amount(name, value)}, at most {limit:g}"


def _none(candidates: Sequence[Candidate], baseline: Candidate, limits: Deploy) -> str:
    faults = {one.model: broken(one, baseline, limits) for one in candidates}
    counts = {name: sum(name in found for found in faults.values()) for name in UNITS}
    most = max(counts, key=lambda name: counts[name])
    # A limit of zero points has no share to exceed it by: one point counts as one.
    nearest = min(
        faults,
        key=lambda model: (
            len(faults[model]),
            max((value - limit) / (limit or 1.0) for value, limit in faults[model].values()),
            model,
        ),
    )
    why = "; ".join(_fault(name, *numbers) for name, numbers in faults[nearest].items())
    return (
        f"params.yaml: no model keeps to the limits under deploy; {most} {getattr(limits, most):g} excludes most, "
        f"{counts[most]} of {len(faults)}; nearest is {nearest} ({why})"
    )
