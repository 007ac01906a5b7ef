"""How long things take, timed in turn: a round calls each of them once, in an order of its own.

One long run of A and then one of B measures what the machine was doing meanwhile; in turn, both see the same
machine. The median and the quartiles are not moved by a few calls that were interrupted.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
Task = Callable[[], object]
MS_PER_SECOND = 1e3
WARM_UP = 3
ROUNDS = 20


@dataclass(frozen=True)
class Times:
    """The seconds that the calls of one task took, in the order of the rounds."""

    seconds: tuple[float, ...]

    @property
    def n(self) -> int:
        """Calls that were timed."""
        return len(self.seconds)

    @property
    def mean_ms(self) -> float:
        """Mean time of a call [ms]."""
        return MS_PER_SECOND * statistics.fmean(self.seconds)

    @property
    def median_ms(self) -> float:
        """Median time of a call [ms]."""
        return MS_PER_SECOND * statistics.median(self.seconds)

    @property
    def quartiles_ms(self) -> tuple[float, float]:
        """Lower and upper quartile [ms]; of a single call, that call twice."""
        if self.n == 1:
            return (self.median_ms, self.median_ms)
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return MS_PER_SECOND * low, MS_PER_SECOND * high


def interleaved(
    tasks: Mapping[K, Task],
    *,
    warm_up: int = WARM_UP,
    rounds: int = ROUNDS,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[K, Times]:
    """Time every task once per round.

    Args:
        tasks: Name -> what to call; it ends when its work is done.
        warm_up: Rounds before those that count, for caches and memory.
        rounds: Rounds that count, at least 1.
        seed: Decides the order within each round, so that no task always follows the same other one.
        clock: Seconds from any start.

    Returns:
        The times under the same names, in the order of `tasks`.
    """
    if rounds < 1 or warm_up < 0:
        raise ValueError(f"rounds must be at least 1 and warm_up at least 0, got {rounds} and {warm_up}")
    order, draw = list(tasks), random.Random(seed)
    taken: dict[K, list[float]] = {name: [] for name in tasks}
    for count in range(warm_up + rounds):
        draw.shuffle(order)
        for name in order:
            start = clock()
            tasks[name]()
            end = clock()
            if count >= warm_up:
                taken[name].append(end - start)
    return {name: Times(tuple(seconds)) for name, seconds in taken.items()}
