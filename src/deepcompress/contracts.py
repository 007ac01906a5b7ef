"""What a file of each room of plug-ins must hold. It is checked when it is loaded: a mistake is one line that names it.

No result depends on a check, so `params.plugin` finds this module by its name, and no stage depends on its code.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import traceback
from types import ModuleType
from typing import Any

from deepcompress.errors import UserError
from deepcompress.params import Section, shown

LIKE = 0.8  # how alike a name is to another that it is taken for, misspelt
GRANULARITIES = (("weight",), ("channel",), ("weight", "channel"), ("channel", "weight"))

# Of a room, or of one file that differs from all others of its room, what stands under each name: one of the values of
# a tuple, an instance of a type, a Section with the keys of a frozenset, or what can be called as a lambda is.
REQUIRED: dict[str, dict[str, Any]] = {
    "data.sources": {"Options": frozenset(), "load": lambda options, *, stored_size, seed, workspace: ...},
    "models.encodings": {"encode": lambda tensor: ..., "decode": lambda parts, shape, dtype: ...},
    "pruning.criteria": {
        "GRANULARITIES": GRANULARITIES,
        "NEEDS_GRADIENTS": (False, True),
        "scores": lambda subject: ...,
    },
    "pruning.allocations": {"EVIDENCE": ("none", "curves", "scores"), "shares": lambda problem: ...},
    "quantization.formats": {"make": lambda: ...},
    "quantization.formats.floats": {"make": lambda name: ...},
    "quantization.formats.intn": {"make": lambda bits, group_size: ...},
    "distillation.losses": {
        "Options": frozenset({"cross_entropy", "weight"}),
        "build": lambda options, context: ...,
    },
    "deploy.engines": {"FLOAT_FORM": str, "missing": lambda: ..., "load": lambda model: ...},
    "report.sections": {"SECTIONS": dict},
}
OPTIONAL: dict[str, dict[str, Any]] = {  # what a file of a room may hold besides: all of it, or nothing
    "data.sources": {"inputs": lambda options: ...},
    "pruning.allocations": {"GRANULARITIES": GRANULARITIES, "SPARSITY": float, "kept": lambda scores, count: ...},
}


def load(room: str, name: str) -> ModuleType:
    """Import a plug-in; a UserError says where it cannot be imported, or what it lacks."""
    file = f"src/deepcompress/{room.replace('.', '/')}/{name}.py"
    try:
        module = importlib.import_module(f"deepcompress.{room}.{name}")
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever a file raises when it is run
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(file)]
        place = ":".join(map(str, [file, *lines[-1:]]))
        raise UserError(f"{place}: cannot be imported: {type(error).__name__}: {error}") from error
    _require(module, room, name, file)
    return module


@functools.cache
def _require(module: ModuleType, room: str, name: str, file: str) -> None:
    """Refuse a plug-in that is not as the tables say; once, since a module does not change."""
    there, further = vars(module), OPTIONAL.get(room, {})
    wanted = REQUIRED.get(f"{room}.{name}", REQUIRED[room]) | (further if further.keys() & there.keys() else {})
    for key, example in wanted.items():
        if key not in there:
            close = difflib.get_close_matches(key, sorted(there.keys() - wanted.keys()), n=1)
            hint = f"; is {close[0]} meant?" if close else ""
            raise UserError(f"{file}: {key} is missing; it must be {_instead(None, example)}{hint}")
        if instead := _instead(there[key], example):
            got = "" if callable(there[key]) else f", got {shown(there[key])}"
            raise UserError(f"{file}: {key} must be {instead}{got}")
    for key in sorted(further.keys() - wanted.keys()):
        if close := difflib.get_close_matches(key, there, n=1, cutoff=LIKE):
            raise UserError(f"{file}: {close[0]} is unknown; is {key} meant?")


def _instead(entry: Any, example: Any) -> str:
    """What must stand there instead; nothing where an entry is as it must be."""
    if isinstance(example, tuple):
        return "" if entry in example else f"one of {', '.join(map(repr, example))}"
    if isinstance(example, frozenset):
        right = isinstance(entry, type) and issubclass(entry, Section) and example <= {*entry.model_fields}
        return "" if right else " with ".join(["a Section", *([" and ".join(sorted(example))] if example else [])])
    if isinstance(example, type):
        return "" if isinstance(entry, example) else f"a {example.__name__}"
    asked = inspect.signature(example)
    by_name = {key: None for key, argument in asked.parameters.items() if argument.kind is argument.KEYWORD_ONLY}
    try:
        inspect.signature(entry).bind(*(asked.parameters.keys() - by_name.keys()), **by_name)
    except (TypeError, ValueError):
        return f"a function of {asked}"
    lacking = sorted(getattr(entry, "__abstractmethods__", ()))
    return f"a class that has {', '.join(lacking)}" if lacking else ""
