"""Timing in turn, with a clock that only moves when a task moves it."""

from collections.abc import Callable

import pytest

from deepcompress.measure import passes


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
    found = passes.interleaved(tasks, warm_up=1, rounds=3, clock=clock)
    assert {name: times.tolist() for name, times in found.items()} == {
        "slow first": [1e3, 2e3, 3e3],
        "steady": [5e2] * 3,
    }
    rounds = [sorted(clock.calls[i : i + 2]) for i in range(0, len(clock.calls), 2)]
    assert rounds == [["a", "b"]] * 4


def test_the_order_within_a_round_changes_and_is_the_same_for_a_seed() -> None:
    def order(seed: int) -> list[str]:
        clock = Clock()
        tasks = {name: clock.task(name, 1.0) for name in "abcd"}
        passes.interleaved(tasks, warm_up=0, rounds=6, seed=seed, clock=clock)
        return clock.calls

    first = order(0)
    assert len({tuple(first[i : i + 4]) for i in range(0, 24, 4)}) > 2
    assert order(0) == first
    assert order(1) != first


@pytest.mark.parametrize(("warm_up", "rounds"), [(0, 0), (-1, 1)])
def test_impossible_counts_are_refused(warm_up: int, rounds: int) -> None:
    with pytest.raises(ValueError, match="rounds must be at least 1 and warm_up at least 0"):
        passes.interleaved({"a": lambda: None}, warm_up=warm_up, rounds=rounds)
