"""Ctrl-C while stages run: the first stops the run, and nothing disturbs what is noted at its end.

A second one would: pressed while stages end or dvc.lock is written, it would leave stages that go on, and forget what
they made. Of one press `make seeds` makes two, its own and that of the terminal.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Interruption:
    """SIGINT and SIGTERM in this process: the first raises KeyboardInterrupt, at once or once it may."""

    def __init__(self) -> None:
        self._came = self._is_held = self._is_told = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """While this lasts, signals come here; Ctrl-C that is ignored, as in the background of a shell, stays so."""
        numbers = {signal.SIGTERM, signal.SIGINT}
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            numbers.remove(signal.SIGINT)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self, back: bool = True) -> Iterator[None]:
        """While this lasts, a signal waits for its end; with `back=False` it comes through, within one that waits."""
        before, self._is_held = self._is_held, back
        try:
            self._tell()
            yield
        finally:
            self._is_held = before
        self._tell()

    def _handle(self, *_: object) -> None:
        self._came = True
        self._tell()

    def _tell(self) -> None:
        if self._came and not self._is_held and not self._is_told:
            self._is_told = True
            raise KeyboardInterrupt
