"""The source report's claims: verdicts follow intervals, and what was not measured has none."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from deepcompress.report import claim_rules, claims
from deepcompress.report.sections import claims as section
from deepcompress.report.sections import cost as cost_section
from deepcompress.report.tables import PAIR_COLUMNS, Tables


def pair(low: float, high: float) -> pd.DataFrame:
    row = ("combined/prune_distill", "shipped/pruned", 1000, (low + high) / 2, low, high, 0.01, 90.0)
    return pd.DataFrame([row], columns=list(PAIR_COLUMNS))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-3.0, -1.0, claim_rules.HOLDS), (0.5, 2.0, claim_rules.FAILS), (-1.0, 1.0, claim_rules.SAME)],
)
def test_a_paired_claim_follows_its_interval(data: Tables, low: float, high: float, verdict: str) -> None:
    found = claims.a_teacher_for_pruned_models(dataclasses.replace(data, pairs=pair(low, high)))
    assert found.verdict == verdict
    assert "combined/prune_distill against shipped/pruned" in found.evidence
    assert "n = 1,000" in found.evidence


def test_what_was_not_measured_has_no_verdict(alone: Tables) -> None:
    assert {one.verdict for one in claims.tested(alone)} == {claim_rules.MISSING}
    assert section.build(alone) is None
    assert cost_section.build(alone) is None


def test_zeros_that_bring_no_speed_hold_and_channels_that_do_hold(data: Tables) -> None:
    assert claims.zeros_are_no_faster(data).verdict == claim_rules.HOLDS
    assert claims.channels_are_faster(data).verdict == claim_rules.HOLDS
    rows = data.extra["benchmark/latency"].copy()
    rows.loc[rows["model"] == "pruned/structured-0.5", ["latency_ms_p25", "latency_ms_p75", "speedup"]] = (9, 11, 1.0)
    slow = dataclasses.replace(data, extra={**data.extra, "benchmark/latency": rows})
    assert claims.channels_are_faster(slow).verdict == claim_rules.FAILS


def test_every_claim_names_its_section_and_is_told_once(data: Tables) -> None:
    found = claims.tested(data)
    assert len({one.said for one in found}) == len(found) >= 12
    assert all(one.where[0] in "45" for one in found)
    assert all(bool(one.evidence) == (one.verdict != claim_rules.MISSING) for one in found)
