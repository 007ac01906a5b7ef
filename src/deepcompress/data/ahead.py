"""Read on in a thread while the reader of before is at work: what comes next is there when it is asked for."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    P = TypeVar("P")
    R = TypeVar("R")


def ahead(read: Callable[[P], R], parts: Iterable[P], depth: int = 2) -> Iterator[R]:
    """`read` of each part, in order.

    Args:
        read: Runs in one other thread, one part after the other; what it raises is raised here, at its part.
        parts: What to read.
        depth: How many results may wait; at most one more is in the hands of the caller.
    """
    left = iter(parts)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as thread:
        waiting = deque(thread.submit(read, part) for part in islice(left, depth))
        try:
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(thread.submit(read, part) for part in islice(left, 1))
                yield done
        finally:
            for future in waiting:
                future.cancel()
