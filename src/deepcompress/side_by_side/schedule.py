"""Run the commands of stages side by side, each as soon as what it depends on is done, the longest chain first."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from deepcompress.errors import UserError
from deepcompress.side_by_side.places import THREADS_VARIABLE
from deepcompress.side_by_side.stage import alone, record, relay, restored, started, up_to_date
from deepcompress.side_by_side.warm import Forked, Warm

if TYPE_CHECKING:
    from dvc.stage import Stage
    from networkx import DiGraph

UNTIMED_SECONDS = 1.0


@dataclass(frozen=True)
class Command:
    """A stage's command that runs, and where."""

    stage: Stage
    process: subprocess.Popen[str] | Forked
    place: Mapping[str, str]


@dataclass
class SideBySide:
    """Stages of a pipeline, run as soon as what they depend on is done, one at each place.

    Attributes:
        graph: Each stage points to those that it depends on.
        waiting: Stages to bring up to date, the most urgent first.
        free: Places to run a command, the next one last: what its environment has besides this process's own.
        keeps_going: Whether after a failure all stages run that do not depend on what failed.
    """

    graph: DiGraph
    waiting: list[Stage]
    free: list[Mapping[str, str]]
    keeps_going: bool = False
    done: set[Stage] = field(default_factory=set)
    changed: list[Stage] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    running: dict[Future[int], Command] = field(default_factory=dict)
    warm: Warm = field(init=False)

    def __post_init__(self) -> None:
        self.warm = Warm({THREADS_VARIABLE: self.free[0][THREADS_VARIABLE]})

    def run(self) -> None:
        """Go on until all is done, or until nothing more can start and what runs has ended.

        Raises:
            UserError: If a stage failed; names it.
        """
        with ThreadPoolExecutor(len(self.free)) as readers:
            try:
                self._start_ready(readers)
                while self.running:
                    ended, _ = wait(self.running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        command = self.running.pop(future)
                        self.free.append(command.place)
                        self._end(command.stage, future.result())
                    self._start_ready(readers)
            finally:  # what still runs here was left by Ctrl-C
                for command in self.running.values():
                    with suppress(ProcessLookupError):
                        os.killpg(command.process.pid, signal.SIGTERM)
        if self.failures:
            raise UserError("; ".join(self.failures))

    def _start_ready(self, readers: ThreadPoolExecutor) -> None:
        """Start commands until none is ready, all places are taken or a failure stops the run."""
        while (self.keeps_going or not self.failures) and (stage := self._next()):
            self.waiting.remove(stage)
            with self._noting_failure(stage):
                if up_to_date(stage):
                    self.done.add(stage)
                elif restored(stage):
                    self._end(stage, 0)
                else:
                    click.echo(f"Running stage '{stage.addressing}':\n> {stage.cmd}")
                    place = self.free.pop()
                    process = started(stage, {}) if alone(stage) else started(stage, place, self.warm)
                    self.running[readers.submit(relay, stage.addressing, process)] = Command(stage, process, place)

    def _next(self) -> Stage | None:
        busy = [command.stage for command in self.running.values()]
        if not self.free or any(map(alone, busy)):
            return None
        ready = (stage for stage in self.waiting if self.done.issuperset(self.graph.successors(stage)))
        return next((stage for stage in ready if not (busy and alone(stage))), None)

    def _end(self, stage: Stage, code: int) -> None:
        if code:
            self.failures.append(f"stage '{stage.addressing}' failed with exit code {code}; it says why above")
            return
        with self._noting_failure(stage):
            record(stage)
            self.done.add(stage)
            self.changed.append(stage)

    @contextmanager
    def _noting_failure(self, stage: Stage) -> Iterator[None]:
        from dvc.exceptions import DvcException

        try:
            yield
        except DvcException as error:
            self.failures.append(f"stage '{stage.addressing}': {error}")


def by_urgency(stages: Iterable[Stage], graph: DiGraph, seconds: Mapping[str, float]) -> list[Stage]:
    """Stages by the time that they and the longest chain behind them take, the longest first.

    Args:
        stages: In an order in which none comes before what it depends on.
        graph: Each stage points to those that it depends on.
        seconds: What stages took before, by address; others count as UNTIMED_SECONDS.
    """
    order = list(stages)
    left: dict[Stage, float] = {}
    for stage in reversed(order):
        behind = [left[later] for later in graph.predecessors(stage) if later in left]
        left[stage] = seconds.get(stage.addressing, UNTIMED_SECONDS) + max(behind, default=0.0)
    return sorted(order, key=lambda stage: -left[stage])
