"""Independent pieces of a stage's work, on all cores: each in a fork of the process, which has all loaded already."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from deepcompress import stopwatch
from deepcompress.errors import UserError

T = TypeVar("T")

MOST = 8
DIE_WITH_PARENT = 1  # prctl(2), PR_SET_PDEATHSIG
_calls: Sequence[Callable[[], Any]] = ()  # what the forks of this process find


def each(calls: Sequence[Callable[[], T]], threads: int | None = 1) -> Iterator[T]:
    """What each call returns, in their order, made by as many processes as the cores can hold, up to MOST.

    One after the other in this process where there is one core, or where forking may not be safe: elsewhere than on
    Linux, beside other threads, and in any but the fresh process of a stage.

    Args:
        calls: Change nothing that another of them reads; what they return can be pickled.
        threads: Of each; None: all cores, so that nothing is forked.

    Raises:
        UserError: If a fork was killed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    count = min(cores // (threads or cores), len(calls), MOST)
    fresh = stopwatch.STAGE_VARIABLE in os.environ and threading.active_count() == 1
    if count < 2 or sys.platform != "linux" or not fresh:
        return (call() for call in calls)
    global _calls
    _calls = calls
    pool = ProcessPoolExecutor(count, mp_context=get_context("fork"), initializer=_die_with_parent)
    return _closing(pool, pool.map(_call, range(len(calls))))


def _call(place: int) -> Any:
    return _calls[place]()


def _die_with_parent() -> None:
    """Else a fork would wait for ever on one that was killed."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


def _closing(pool: ProcessPoolExecutor, found: Iterator[T]) -> Iterator[T]:
    try:
        with pool:
            yield from found
    except BrokenProcessPool:
        raise UserError(
            "a process was killed, most likely for lack of memory; with `train.threads: null` one works at a time"
        ) from None
