"""How the tests spoil inputs, and what a reader may do with a spoilt one: read it, or say in one line why not."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from deepcompress.errors import UserError, one_line

HANG_S = 60.0  # of a processor's work, however many share it
BLOCKED_S = 600.0  # of waiting
LONGEST_MESSAGE = 4000
QUIET = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large)


def fuzz(examples: int) -> Callable[[Any], Any]:
    """Settings of one fuzz test, beside those of tests/conftest.py: none of its examples is made smaller at length."""
    return settings(max_examples=examples, phases=(Phase.explicit, Phase.generate), suppress_health_check=QUIET)


def spoilt(content: bytes, *, most: int = 4, within: int | None = None) -> st.SearchStrategy[bytes]:
    """Bytes with one to `most` faults of the kinds that disks, networks and attackers make.

    Args:
        content: What is spoilt.
        most: Faults.
        within: Faults begin before this offset; None: anywhere.
    """
    return st.integers(0, 2**32).map(lambda seed: _spoilt(content, most, within, Random(seed)))


def _spoilt(content: bytes, most: int, within: int | None, random: Random) -> bytes:
    bad = bytearray(content)
    for _ in range(random.randint(1, most)):
        place = random.randrange(max(1, min(len(bad), within or len(bad))))
        there = slice(place, place + random.choice((1, 1, 1, 2, 4, 8, 64, 512)))
        old = bytes(bad[there])
        noise = random.randbytes(len(old))
        flipped = bytes(byte ^ 1 << random.randrange(8) for byte in old[:1]) + old[1:]
        lost = random.choice((there, there, slice(place, None)))
        bad[lost] = random.choice((flipped, noise, bytes(len(old)), b"\xff" * len(old), noise + old, 2 * old, b""))
    return bytes(bad)


def read_or_refused(read: Callable[[], Any], *, naming: str | Path | None = None) -> str | None:
    """Call a reader: it may succeed, or raise a `UserError` of one line; anything else fails the test.

    Args:
        read: The call.
        naming: What the message must name, such as the file.

    Returns:
        The message; None: it was read.
    """
    with no_hang():
        try:
            read()
        except UserError as error:
            said = str(error)
            assert said
            assert one_line(said).isprintable()
            assert len(said) <= LONGEST_MESSAGE
            assert naming is None or str(naming) in said
            return said
    return None


@contextmanager
def no_hang() -> Iterator[None]:
    """Fail with a traceback of where it hangs; Python's own deadline would wait for ever."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError("hangs")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, HANG_S), (signal.SIGALRM, signal.ITIMER_REAL, BLOCKED_S))
    before = {number: signal.signal(number, late) for number, _, _ in timers}
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for number, timer, _ in timers:
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes: a write there raises EFBIG, as a full disk does ENOSPC."""
    before, old = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)


def below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, to see that nothing was written there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Trap:
    """Unpickling this would make the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)
