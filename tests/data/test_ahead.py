"""Reading ahead: the same results in the same order, no more than so many, and errors at their place."""

from __future__ import annotations

import threading

import pytest

from deepcompress.data.ahead import ahead


@pytest.mark.parametrize("count", [0, 1, 2, 7])
@pytest.mark.parametrize("depth", [1, 2, 10])
def test_results_come_in_order(count: int, depth: int) -> None:
    assert list(ahead(lambda part: part * 10, range(count), depth)) == [part * 10 for part in range(count)]


def test_only_so_many_are_begun_before_they_are_wanted() -> None:
    begun: list[int] = []
    third = threading.Event()

    def read(part: int) -> int:
        begun.append(part)
        if part == 2:
            third.set()
        return part

    results = ahead(read, range(100), depth=2)
    assert next(results) == 0
    assert third.wait(10), "one is read while the caller holds another"
    results.close()  # type: ignore[attr-defined]
    assert begun == [0, 1, 2]


def test_they_are_read_in_another_thread_and_it_ends_with_the_results() -> None:
    before = threading.active_count()
    names = list(ahead(lambda part: threading.current_thread().name, range(3)))
    assert threading.current_thread().name not in names
    assert len(set(names)) == 1
    assert threading.active_count() == before


def test_an_error_is_raised_at_its_part() -> None:
    results = ahead(lambda part: 1 // (2 - part), range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
