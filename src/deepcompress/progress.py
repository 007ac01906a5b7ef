"""What a run tells while it goes on: a line as a stage starts and ends, and the time left.

The time left rests on what stages took in the last run here (.scratch) or, where there was none, in the one whose
results/benchmark lies in the working tree. All stages count that are not done, so that it falls fast where few changed.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepcompress.errors import scratch_root

if TYPE_CHECKING:
    from dvc.stage import Stage
    from networkx import DiGraph

STAGES = Path("results/benchmark/stages.csv")
CI_VARIABLE = "CI"  # set by GitHub, GitLab and others


def last_seconds() -> dict[str, float]:
    """What stages took last, by address, and matrix stages such as `prune_sweep@structured-0.5` each."""
    found: dict[str, float] = {}
    with (
        suppress(OSError, ValueError, KeyError, TypeError, csv.Error),
        STAGES.open(encoding="utf-8", newline="") as file,
    ):
        found |= {row["stage"]: float(row["seconds"]) for row in csv.DictReader(file)}
    return found | {row["stage"]: row["seconds"] for row in noted()}


def noted() -> list[dict[str, Any]]:
    """What `errors.note_seconds` wrote, in the order in which the stages ended: `stage` and `seconds` each.

    A damaged file counts as absent.
    """
    found = []
    written = (scratch_root() / "seconds").glob("[!.]*.json")
    for path in sorted(written, key=lambda path: (path.stat().st_mtime, path.name)):
        with suppress(ValueError, RecursionError, LookupError, TypeError):
            row = json.loads(path.read_text(encoding="utf-8"))
            stage, seconds = row["stage"], row["seconds"]
            if type(stage) is str and type(seconds) in (int, float) and 0 <= seconds < math.inf:
                found.append({"stage": stage, "seconds": seconds})
    return found


def is_watched() -> bool:
    """Whether a person looks on: standard output is a terminal, and this is no CI."""
    return sys.stdout.isatty() and not os.environ.get(CI_VARIABLE)


@dataclass
class Progress:
    """Tells what runs, how much is done and how long it takes yet; unwatched, what starts or is skipped alone."""

    graph: DiGraph  # each stage points to those that it depends on
    order: list[Stage]  # all of the run; none comes before what it depends on
    seconds: Mapping[str, float]  # of `last_seconds`
    size: int  # stages at a time
    watched: bool = field(default_factory=is_watched)
    now: Callable[[], float] = time.monotonic  # a clock [s]
    since: dict[Stage, float] = field(default_factory=dict)
    done: set[Stage] = field(default_factory=set)

    def skipped(self, stage: Stage) -> None:
        """A stage is as it was."""
        self.done.add(stage)
        click.echo(f"Stage '{stage.addressing}' didn't change, skipping")

    def started(self, stage: Stage) -> None:
        """A stage's command starts."""
        self.since[stage] = self.now()
        took = self.seconds.get(stage.addressing)
        last = f", {spoken(took)} last time" if took is not None and self.watched else ""
        click.echo(f"Running stage '{stage.addressing}'{last}{self._rest()}")

    def ended(self, stage: Stage) -> None:
        """What a stage wrote is recorded; one that never started came from the run cache."""
        self.done.add(stage)
        if self.watched:
            began = self.since.get(stage)
            how = "came from the run cache" if began is None else f"took {spoken(self.now() - began)}"
            click.echo(f"Stage '{stage.addressing}' {how}{self._rest()}")

    def _rest(self) -> str:
        """How much is done and left, for a line's end."""
        if not self.watched:
            return ""
        left = self.left()
        done = f" ({len(self.done)} of {len(self.order)} done"
        return f"{done})" if left is None or len(self.done) == len(self.order) else f"{done}, {spoken(left)} left)"

    def left(self) -> float | None:
        """Seconds until all is done: the longest chain, or the sum over the places; None where no time is known."""
        if not any(stage.addressing in self.seconds for stage in self.order):
            return None
        usual, now = durations(self.order, self.seconds), self.now()
        own = {
            stage: max(0.0, usual[stage] - (now - self.since.get(stage, now)))
            for stage in self.order
            if stage not in self.done
        }
        return max([sum(own.values()) / self.size, *chains(own, self.graph).values()])


def durations(stages: Iterable[Stage], seconds: Mapping[str, float]) -> dict[Stage, float]:
    """What each stage takes; one without a time counts as the mean of the others, or 1 where no time is known."""
    found = {stage: seconds.get(stage.addressing) for stage in stages}
    known = [time for time in found.values() if time is not None]
    mean = sum(known) / len(known) if known else 1.0
    return {stage: mean if time is None else time for stage, time in found.items()}


def chains(own: Mapping[Stage, float], graph: DiGraph) -> dict[Stage, float]:
    """What each stage and the longest chain behind it take, from what each takes, in the order of `Progress`."""
    found: dict[Stage, float] = {}
    for stage in reversed(own):
        behind = (found[later] for later in graph.predecessors(stage) if later in found)
        found[stage] = own[stage] + max(behind, default=0.0)
    return found


def spoken(seconds: float) -> str:
    """A time in a unit that suits it: `7 s`, `3 min`, `2 h 5 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
