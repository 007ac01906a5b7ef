"""A user's mistake ends in one line and exit code 2, never in a traceback."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

from deepcompress import stopwatch

P = ParamSpec("P")
R = TypeVar("R")

EXIT_CODE = 2
PROCESS_VARIABLE = "DEEPCOMPRESS_PROCESS"  # set to its number in all but the first of several processes


class UserError(Exception):
    """Something that the user can mend; the message names the key, file or address and what is allowed."""


def one_line_errors(main: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command so that a `UserError`, or a failing disk, prints one line and exits with code 2.

    A console of another encoding shows what it cannot write as Python spells it.
    What a command that ends well took is noted, see stopwatch.py.
    """

    @functools.wraps(main)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            done = main(*args, **kwargs)
            stopwatch.note()
            return done
        except UserError as error:
            _stop(str(error))
        except OSError as error:
            if error.errno is None:
                raise
            _stop(f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror}")

    return guarded


def one_line(message: str) -> str:
    """A message without line ends and without what would steer a terminal, such as a name from a file may hold."""
    return printable(" ".join(message.split()))


def printable(text: str) -> str:
    """A text with what would steer a terminal, and line ends, spelled as Python does."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _stop(message: str) -> NoReturn:
    process = os.environ.get(PROCESS_VARIABLE)
    speaker = f"process {process}: " if process else ""
    print(f"error: {speaker}{one_line(message)}", file=sys.stderr)
    sys.exit(EXIT_CODE)
