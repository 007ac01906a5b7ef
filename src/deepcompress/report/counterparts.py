"""Every figure and table of the source report beside ours, in its order; see counterpart_rules.py for the verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.report import pruning_counterparts, student_counterparts

if TYPE_CHECKING:
    from deepcompress.report.counterpart_rules import Counterpart
    from deepcompress.report.tables import Tables


def found(data: Tables) -> list[Counterpart]:
    """All of them, measured or not: figures first, then tables."""
    every = [one(data) for one in (*pruning_counterparts.COUNTERPARTS, *student_counterparts.COUNTERPARTS)]
    return sorted(every, key=lambda one: one.number.startswith("Table"))
