"""Timing in turn, with a clock that only moves when a task moves it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deepcompress.measure import latency
from deepcompress.measure.latency import Times


class Clock:
    """Seconds that tasks spend; each call of a task is noted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def task(self, name: str, *seconds: float) -> Callable[[], None]:
        def spend() -> None:
            done = self.calls.count(name)
            self.now += seconds[min(done, len(seconds) - 1)]
            self.calls.append(name)

        return spend


def test_each_task_is_called_once_per_round_and_warm_up_does_not_count() -> None:
    clock = Clock()
    tasks = {"slow first": clock.task("a", 100.0, 1.0, 2.0, 3.0), "steady": clock.task("b", 0.5)}
    found = latency.interleaved(tasks, warm_up=1, rounds=3, clock=clock)
    assert found == {"slow first": Times((1.0, 2.0, 3.0)), "steady": Times((0.5, 0.5, 0.5))}
    rounds = [sorted(clock.calls[i : i + 2]) for i in range(0, len(clock.calls), 2)]
    assert rounds == [["a", "b"]] * 4


def test_the_order_within_a_round_changes_and_is_the_same_for_a_seed() -> None:
    def order(seed: int) -> list[str]:
        clock = Clock()
        tasks = {name: clock.task(name, 1.0) for name in "abcd"}
        latency.interleaved(tasks, warm_up=0, rounds=6, seed=seed, clock=clock)
        return clock.calls

    first = order(0)
    assert len({tuple(first[i : i + 4]) for i in range(0, 24, 4)}) > 2
    assert order(0) == first
    assert order(1) != first


def test_median_quartiles_and_mean_by_hand() -> None:
    times = Times((0.005, 0.001, 0.002, 0.004, 0.003))
    assert times.median_ms == pytest.approx(3)
    assert times.quartiles_ms == pytest.approx((2, 4))
    assert times.mean_ms == pytest.approx(3)
    assert times.n == 5
    assert Times((0.002,)).quartiles_ms == pytest.approx((2, 2))


def test_one_interrupted_call_moves_the_mean_and_not_the_median() -> None:
    times = Times((0.001,) * 9 + (1.0,))
    assert times.median_ms == pytest.approx(1)
    assert times.mean_ms > 100


@pytest.mark.parametrize(("warm_up", "rounds"), [(0, 0), (-1, 1)])
def test_impossible_counts_are_refused(warm_up: int, rounds: int) -> None:
    with pytest.raises(ValueError, match="rounds must be at least 1 and warm_up at least 0"):
        latency.interleaved({"a": lambda: None}, warm_up=warm_up, rounds=rounds)
