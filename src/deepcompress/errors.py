"""How a command ends: a user's mistake in one line with exit code 2, never a traceback; what a stage took in scratch.

The clock starts when this module is loaded, among the first of a process, so that loading torch counts. It imports
nothing of the package, because every command does.
"""

from __future__ import annotations

import functools
import gc
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")

EXIT_CODE = 2
PROCESS_VARIABLE = "DEEPCOMPRESS_PROCESS"  # set to its number in all but the first of several processes
STAGE_VARIABLE = "DVC_STAGE"  # DVC sets it for the command of a stage to the stage's address
SCRATCH_VARIABLE = "DEEPCOMPRESS_SCRATCH"
MOST_NAMED = 5  # of many files, in a message
STARTED = time.perf_counter()
# Not a program of the user's that a stage of their own runs, which would never come to `Command.invoke`.
IN_STAGE = bool(os.environ.get(STAGE_VARIABLE)) and Path(sys.argv[0]).parent.name == "stages"
if IN_STAGE:
    gc.disable()  # while modules are loaded


class UserError(Exception):
    """Something that the user can mend; the message names the key, file or address and what is allowed."""


def require_array(what: str, array: Any, shape: Iterable[int], kind: str) -> None:
    """Refuse what a plug-in gives where it is no array or tensor of this shape, and of a type like `float`."""
    given = (tuple(array.shape), str(array.dtype)) if hasattr(array, "dtype") else (type(array).__name__,)
    if given[0] != tuple(shape) or kind not in given[-1]:
        raise UserError(f"{what} must be {kind} {tuple(shape)}, got {' '.join(map(str, given))}")


@contextmanager
def said_after(words: str) -> Iterator[None]:
    """Put words before the message of a `UserError`, such as a key of params.yaml and a colon."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{words}{error}") from None


def of_arguments(places: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function whose arguments take the place of keys of params.yaml: its errors name those that were given.

    Args:
        places: A section or block of params.yaml -> the argument that holds its keys; nothing where they are arguments
            themselves. A block within another one comes before it.
    """

    def decorate(step: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(step)
        def told(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return step(*args, **kwargs)
            except UserError as error:
                error.args = (_of_argument(str(error), step.__name__, places, kwargs),)
                raise

        return told

    return decorate


def _of_argument(message: str, step: str, places: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """A message about a key of params.yaml as one about the argument; as it is where the call does not have it."""
    _, _, told = message.partition("params.yaml: ")
    key = re.match(r"[\w.-]*", told)[0].rstrip(".")  # type: ignore[index]
    for place, argument in places.items():
        if key.startswith(f"{place}."):
            name = f"{argument}{key.removeprefix(place)}".removeprefix(".")
            names = name.split(".")[: -1 if told.startswith(f"{key} is missing") else None]
            return f"{step}: {name}{told.removeprefix(key)}" if names and _holds(given, names) else message
    return message


def _holds(given: Any, names: list[str]) -> bool:
    """Whether nested mappings have a value under some names, or above the last ones what is no mapping."""
    if not names or not isinstance(given, Mapping):
        return True
    return names[0] in given and _holds(given[names[0]], names[1:])


class Command(click.Command):
    """A command whose wrong options, a `UserError` and a failing disk are one line each, and exit code 2."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with in_one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Do the work; a console of another encoding shows what it cannot write as Python spells it.

        In a stage the garbage collector passes over what was loaded, most of all torch, and stays to the end: looking
        through that, many times and once more at the end, takes a fifth of a short stage's time.
        """
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        if IN_STAGE:
            gc.freeze()
            gc.enable()
        with in_one_line():
            done = super().invoke(ctx)
            note_seconds()
            return done


@contextmanager
def in_one_line() -> Iterator[None]:
    """End the process with a line that says which of the user's mistakes, or failures of a disk, is met within."""
    try:
        yield
        return
    except getattr(click.exceptions, "NoArgsIsHelpError", ()):  # of click 8.2 and later: the help is shown
        raise
    except click.UsageError as error:
        message = f"{error.format_message()} `--help` says what is allowed."
    except UserError as error:
        message = str(error)
    except OSError as error:
        if error.errno is None:
            raise
        message = f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror}"
    speaker = f"process {process}: " if (process := os.environ.get(PROCESS_VARIABLE)) else ""
    print(f"error: {speaker}{one_line(message)}", file=sys.stderr)
    sys.exit(EXIT_CODE)


def one_line(message: str) -> str:
    """A message without line ends and without what would steer a terminal, such as a name from a file may hold."""
    return printable(" ".join(message.split()))


def printable(text: str) -> str:
    """A text with what would steer a terminal, and line ends, spelled as Python does."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def named(names: Iterable[str]) -> str:
    """The first of some names for a message, and how many more there are."""
    listed = [printable(name) for name in names]
    more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return ", ".join(listed[:MOST_NAMED]) + more


def scratch_root() -> Path:
    """The folder for what is no output and may be deleted at any time."""
    return Path(os.environ.get(SCRATCH_VARIABLE, ".scratch"))


def note_seconds() -> None:
    """Write the stage's address and the wall seconds so far to scratch, for `progress.noted`, if DVC runs a stage."""
    stage = os.environ.get(STAGE_VARIABLE, "").rpartition(":")[2]
    if not stage:
        return
    path = scratch_root() / "seconds" / f"{stage.replace('/', '-')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(json.dumps({"stage": stage, "seconds": round(time.perf_counter() - STARTED, 2)}) + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
