"""How long things take, timed in turn: a round calls each of them once, in an order of its own.

One long run of A and then one of B measures what the machine was doing meanwhile; in turn, both see the same
machine. The median and the quartiles are not moved by a few calls that were interrupted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

K = TypeVar("K", bound=Hashable)
Task = Callable[[], object]
MS_PER_SECOND = 1e3
WARM_UP = 3
ROUNDS = 20


def interleaved(
    tasks: Mapping[K, Task],
    *,
    warm_up: int = WARM_UP,
    rounds: int = ROUNDS,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[K, Float[np.ndarray, " rounds"]]:
    """Time every task once per round.

    Args:
        tasks: Name -> what to call; it ends when its work is done.
        warm_up: Rounds before those that count, for caches and memory.
        rounds: Rounds that count, at least 1.
        seed: Decides the order within each round, so that no task always follows the same other one.
        clock: Seconds from any start.

    Returns:
        Under the same names, in the order of `tasks`: what each call took [ms].
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
                taken[name].append(MS_PER_SECOND * (end - start))
    return {name: np.array(times) for name, times in taken.items()}
