"""Which stage comes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import networkx

from deepcompress.side_by_side import schedule


@dataclass(frozen=True)
class Named:
    addressing: str


def test_the_longest_chain_comes_first() -> None:
    plan, teacher, student, baseline = (Named(name) for name in ("plan", "teacher", "student", "baseline"))
    graph: Any = networkx.DiGraph([(teacher, plan), (student, teacher), (baseline, plan)])
    order: Any = [plan, baseline, teacher, student]
    assert schedule.by_urgency(order, graph, {}) == [plan, teacher, baseline, student]
    times = {"plan": 1.0, "baseline": 9.0, "teacher": 2.0, "student": 3.0}
    assert schedule.by_urgency(order, graph, times) == [plan, baseline, teacher, student]


def test_stages_left_out_do_not_count() -> None:
    plan, one, two, heavy = (Named(name) for name in ("plan", "one", "two", "heavy"))
    graph: Any = networkx.DiGraph([(one, plan), (two, plan), (heavy, two)])
    order: Any = [plan, one, two]
    assert schedule.by_urgency(order, graph, {"heavy": 99.0, "one": 2.0}) == [plan, one, two]
