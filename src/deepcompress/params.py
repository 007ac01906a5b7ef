"""params.yaml, section by section, as typed, frozen and strict values whose errors name the key.

Each section's schema lives beside the code that uses it, so that a new key makes only its own stages stale. Values that
name a plug-in name a file: there is no list of them beside the file system.
"""

from __future__ import annotations

import copy
import difflib
import functools
import importlib
import inspect
import json
import math
import pkgutil
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeVar, get_args

import pydantic
import yaml

from deepcompress.errors import UserError, named, said_after

PARAMS_FILE = "params.yaml"
DEVICE_BUDGET_MIB = 2048  # where params.yaml does not say
HIGHEST_SEED = 2**63 - 1  # of torch's generators
MOST_VALUES = 100_000  # of one file; ours holds some 400
LONGEST_SHOWN = 200  # characters of a wrong value in a message
MOST_LISTED = 20  # allowed names in a message
MISSPELT = (ValueError, LookupError, AttributeError, TypeError)  # which PyYAML lets through, of `!!timestamp x`
SHARED = {  # place in the file -> the section, or keys of it, that stand there where the place itself says nothing
    "finetune": ("recipe",),
    "prune.finetune": ("recipe",),
    "quant.qat": ("recipe",),
    "quant.baselines.*": ("finetune",),
    "teachers.*.recipe": ("recipe",),
    "distill.student.recipe": ("recipe",),
    "teachers.*": ("model", "image_size"),
    "distill.student": ("model", "image_size"),
}
LINKED = ("from", "teacher")  # what a link of a chain says besides keys of its step's section
TYPES = {  # pydantic's name of what a value should be -> in words
    "bool_type": "true or false",
    "dict_type": "a block of keys",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a block of keys",
    "string_type": "text",
    "tuple_type": "a list",
}
INTERNAL = re.compile(r"function-|constrained-|literal\[")  # names of pydantic's own in a location
S = TypeVar("S", bound="Section")


class Section(pydantic.BaseModel):
    """Base of every section: unknown keys are refused, values are not converted, instances do not change."""

    model_config = pydantic.ConfigDict(frozen=True, strict=True, extra="forbid")


class PluginSection(Section):
    """A section that also holds one block per plug-in, named and checked by the plug-in's own file."""

    model_config = pydantic.ConfigDict(frozen=True, strict=True, extra="allow")
    plugins: ClassVar[str]
    key: ClassVar[str]  # its own, in the file

    def options(self, name: str) -> Any:
        """The block of plug-in `name` as that file's `Options`; its defaults where params.yaml has none."""
        block = (self.model_extra or {}).get(name, {})
        return validate(plugin(self.plugins, name).Options, block, f"{self.key}.{name}")


def plugins(room: str) -> list[str]:
    """Names of the plug-ins in a package such as `data.sources`, sorted; a file that starts with `_` is a helper."""
    folder = importlib.import_module(f"deepcompress.{room}")
    return sorted(file.name for file in pkgutil.iter_modules(folder.__path__) if not file.name.startswith("_"))


def plugin(room: str, name: str, key: str | None = None) -> ModuleType:
    """Import a file of a package such as `data.sources`, and check it against its contract.

    A UserError names the key and lists what there is instead, or names the file and what is wrong with it.
    """
    known = plugins(room)
    if name not in known:
        where = f"params.yaml: {key}" if key else room
        raise UserError(f"{where} must be one of {', '.join(known)}; got {name!r}")
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


def read(path: str | Path = PARAMS_FILE) -> dict[str, Any]:
    """The whole file as plain values, with what stands once in it written out wherever it holds."""
    return filled(read_as_written(path))


def read_as_written(path: str | Path = PARAMS_FILE) -> dict[str, Any]:
    """The whole file as plain values, and nothing else.

    A UserError if it is missing, is no YAML, holds no mapping, a key twice, or aliases that expand to too many values.
    """
    with said_after(f"{path}: "):
        try:
            document = copy.deepcopy(_parsed(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise UserError("no such file") from None
        except RecursionError:
            raise UserError("not YAML that can be read (nested too deeply)") from None
        except (yaml.YAMLError, *MISSPELT) as error:
            raise UserError(f"not YAML ({' '.join(str(error).split())})") from None
        if not isinstance(document, dict):
            raise UserError(f"must hold 'key: value' lines, got {type(document).__name__}")
        _require_few(document)
    return document


def value(key: str, path: str | Path = PARAMS_FILE) -> Any:
    """The raw value at a dotted key, such as `prune.sparsity`; a UserError if the key is missing."""
    found: Any = read(path)
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            raise UserError(f"{path}: {key} is missing")
        found = found[part]
    return found


def at(nested: Any, key: str) -> Any:
    """The value at a dotted key of nested mappings; None where there is none."""
    for name in key.split("."):
        nested = nested.get(name) if isinstance(nested, Mapping) else None
    return nested


def leaves(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every leaf, in order; a list is a leaf, and so is an empty block."""
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def seed(path: str | Path = PARAMS_FILE) -> int:
    """The one seed of the pipeline, a whole number of at least 0."""
    return _whole("seed", value("seed", path), path, f"in 0..{HIGHEST_SEED}", HIGHEST_SEED)


def device_budget_mib(path: str | Path = PARAMS_FILE) -> int:
    """What the images of one part may take in a GPU's memory [MiB]: `data.device_budget_mib`, or its default.

    No result depends on this key of a section, so dvc.yaml names it nowhere.
    """
    data = read(path).get("data")
    budget = data.get("device_budget_mib", DEVICE_BUDGET_MIB) if isinstance(data, dict) else DEVICE_BUDGET_MIB
    return _whole("data.device_budget_mib", budget, path, "of at least 0")


def listed(known: Iterable[str], got: object) -> str:
    """Allowed names for a message: all if they are few, else the first, how many more, and what was meant perhaps."""
    names = list(known)
    return (", ".join(names) if len(names) <= MOST_LISTED else named(names)) + _meant(str(got), names)


def _whole(key: str, got: Any, path: str | Path, allowed: str, most: float = math.inf) -> int:
    if type(got) is not int or not 0 <= got <= most:
        raise UserError(f"{path}: {key} must be a whole number {allowed}, got {shown(got)}")
    return got


def section(schema: type[S], key: str, path: str | Path = PARAMS_FILE, *, link: str | None = None) -> S:
    """The block at a dotted key as an instance of its schema.

    With `link`, the key of a link of a chain such as `combine.quantize.sparse_int4`, its values stand in place of the
    section's; LINKED name other models and are left out. A UserError if a key is missing, unknown or out of range.
    """
    block = value(key, path)
    if link is None:
        return validate(schema, block, key, path)
    changes = value(link, path)
    if not isinstance(changes, dict) or not isinstance(block, dict):
        raise UserError(f"{path}: {link} must be a block with the key from, got {shown(changes)}")
    return validate(schema, linked(block, changes), link, path)


def linked(block: dict[str, Any], link: dict[str, Any]) -> dict[str, Any]:
    """A step's section with what a link of a chain says in its place."""
    return changed(block, {name: change for name, change in link.items() if name not in LINKED})


def changed(block: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A block with other values under some keys, in blocks within it too."""
    own = copy.deepcopy(changes)
    _underlay(own, block)
    return own


def validate(schema: type[S], block: Any, key: str, path: str | Path = PARAMS_FILE) -> S:
    """Check a plain mapping against a schema; `key` is its place in the file, for the message."""
    try:
        text = json.dumps(block, default=str)  # which has neither circles nor keys other than text
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: {key} must hold plain values under plain names ({error})") from None
    try:
        checked = schema.model_validate_json(text)
    except pydantic.ValidationError as error:
        raise UserError(f"{path}: {_explain(error, schema, key)}") from None
    if isinstance(checked, PluginSection):
        for name, options in (checked.model_extra or {}).items():
            known = plugins(checked.plugins)
            if name not in known:
                allowed = [*type(checked).model_fields, *known]
                raise UserError(f"{path}: {_unknown(f'{key}.{name}', allowed)}")
            validate(plugin(checked.plugins, name).Options, options, f"{key}.{name}", path)
    return checked


def filled(document: dict[str, Any]) -> dict[str, Any]:
    """The document with what stands once in it written into every block that it is for; a block's own values win.

    Changes it in place.
    """
    for place, (shared, *keys) in SHARED.items():
        source = document.get(shared)
        if not isinstance(source, dict):
            continue
        given = {key: source[key] for key in keys if key in source} if keys else source
        for block in _blocks(document, place.split(".")):
            _underlay(block, given)
    return document


def _blocks(document: Any, place: list[str]) -> list[dict[str, Any]]:
    """The mappings at a dotted place, where `*` stands for every key; none where the file has something else."""
    if not isinstance(document, dict):
        return []
    if not place:
        return [document]
    first, *rest = place
    inner = document.values() if first == "*" else [document[first]] if first in document else []
    return [block for value in inner for block in _blocks(value, rest)]


def _underlay(block: dict[str, Any], shared: dict[str, Any]) -> None:
    for key, value in shared.items():
        if key not in block:
            block[key] = copy.deepcopy(value)
        elif isinstance(block[key], dict) and isinstance(value, dict):
            _underlay(block[key], value)


class _Loader(yaml.SafeLoader):
    """YAML 1.1, and small numbers as DVC spells them by YAML 1.2: 1e-05 after `-S finetune.learning_rate=1.0e-5`."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        with said_after(f"{index.value}." if isinstance(index, yaml.ScalarNode) else ""):
            return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # YAML 1.1 takes the last of two values; DVC refuses the file without a word where they stand.
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in lines:
                raise UserError(f"{key.value} stands twice, in lines {lines[name]} and {line}: remove one of them")
            lines[name] = line
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"-?\d+e[-+]\d{2,3}$"), list("-0123456789"))


@functools.lru_cache(maxsize=4)
def _parsed(text: str) -> Any:
    """The same for the same text, so that a stage that reads ten sections parses once; nobody may change it."""
    return yaml.load(text, _Loader)


def _require_few(document: dict[str, Any]) -> None:
    """Refuse aliases that repeat aliases, or themselves: written out, a few lines of them fill any memory."""
    waiting: list[Any] = [document]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        found = waiting.pop()
        waiting += found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else ()
    raise UserError(f"expands to more than {MOST_VALUES} values; an alias must not repeat itself or others")


def shown(got: object) -> str:
    """A wrong value for a message, as YAML spells it, cut where it is long."""
    try:
        text = json.dumps(got) if got is None or isinstance(got, bool) else repr(got)
    except ValueError:  # an integer of thousands of digits
        return "a number that is too long to show"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _explain(error: pydantic.ValidationError, schema: type[Section], key: str) -> str:
    problem, *others = error.errors()
    location = _in_file(problem["loc"])
    where = ".".join([key, *map(str, location)])
    got, kind = problem.get("input"), problem["type"]
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return _unknown(where, _keys(schema, problem["loc"][:-1]))
    if kind == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
        first = re.split(r"[.: ]", message, maxsplit=1)[0]  # a check of several keys begins with the one to blame
        behind = "." if first in _keys(schema, problem["loc"]) else ": "
        return f"{where}{behind}{message.replace(repr(got), shown(got))}"
    ways = [problem, *(other for other in others if _in_file(other["loc"]) == location)]  # a number, or a word
    allowed = " or ".join(_allowed(way["type"], way["msg"]) for way in ways)
    hint = "" if kind == "literal_error" else _yaml_hint(got)
    return f"{where} must {allowed}, got {shown(got)}{hint}"


def _in_file(location: tuple[int | str, ...]) -> list[int | str]:
    """A location without what pydantic adds, such as `function-after[...]` and `constrained-int`."""
    return [part for part in location if not INTERNAL.match(str(part))]


def _allowed(kind: str, message: str) -> str:
    """What a value must do or be, in the words of YAML."""
    if kind in TYPES:
        return f"be {TYPES[kind]}"
    said = message.partition(" should ")[2]  # such as "String should match pattern ..."
    return said.partition(" after validation")[0] or f"be {message}"


def _unknown(where: str, allowed: list[str]) -> str:
    return f"{where} is unknown; allowed: {', '.join(allowed)}{_meant(where.rsplit('.', 1)[-1], allowed)}"


def _meant(got: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(got, allowed, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _keys(schema: type[pydantic.BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys of the section at a location; none where a plain value stands."""
    for part in location:
        field = schema.model_fields.get(str(part))
        if field is None:  # a name or a number within a field that holds several sections
            continue
        types = (field.annotation, *get_args(field.annotation))
        models = [t for t in types if isinstance(t, type) and issubclass(t, pydantic.BaseModel)]
        if not models:
            return []
        schema = models[0]
    return [field.alias or name for name, field in schema.model_fields.items()]


def _yaml_hint(got: Any) -> str:
    """What to write instead of a number that YAML 1.1 read as text."""
    if not isinstance(got, str) or len(got) > LONGEST_SHOWN:
        return ""
    try:
        if not math.isfinite(float(got)):
            return ""
    except ValueError:
        return ""
    mantissa, _, exponent = got.lower().partition("e")
    if exponent:
        spelled = f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+d}"
        return f" (YAML reads {got} as text; write {spelled})"
    return f" (that is text; write {got} without quotes)"


# What a file of each room of plug-ins must hold. It is checked when it is loaded: a mistake is one line that names it.

LIKE = 0.8  # how alike a name is to another that it is taken for, misspelt
GRANULARITIES = (("weight",), ("channel",), ("weight", "channel"), ("channel", "weight"))

# Of a room, or of one file that differs from all others of its room, what stands under each name: one of the values of
# a tuple, an instance of a type, a Section with the keys of a frozenset, what can be called as a lambda is, or names of
# pairs of a number and such a function.
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
    "distillation.losses": {"Options": frozenset({"cross_entropy", "weight"}), "build": lambda options, context: ...},
    "deploy.engines": {"FLOAT_FORM": str, "missing": lambda: ..., "load": lambda model: ...},
    "report.sections": {"SECTIONS": {"anchor": (0, lambda data: ...)}},
}
OPTIONAL: dict[str, dict[str, Any]] = {  # what a file of a room may hold besides
    "data.sources": {"inputs": lambda options: ...},
    "pruning.allocations": {"GRANULARITIES": GRANULARITIES, "SPARSITY": float, "kept": lambda scores, count: ...},
}


@functools.cache
def _require(module: ModuleType, room: str, name: str, file: str) -> None:
    """Refuse a plug-in that is not as the tables say; once, since a module does not change."""
    there, further = vars(module), OPTIONAL.get(room, {})
    wanted = REQUIRED.get(f"{room}.{name}", REQUIRED[room]) | {key: further[key] for key in further if key in there}
    for key, example in wanted.items():
        if key not in there:
            close = difflib.get_close_matches(key, sorted(there.keys() - wanted.keys()), n=1)
            hint = f"; is {close[0]} meant?" if close else ""
            raise UserError(f"{file}: {key} is missing; it must be {_instead(None, example)}{hint}")
        if instead := _instead(there[key], example):
            got = "" if callable(there[key]) else f", got {shown(there[key])}"
            raise UserError(f"{file}: {key} must be {instead}{got}")
    public = [key for key in there if not key.startswith("_")]
    for key in sorted(further.keys() - wanted.keys()):
        if close := difflib.get_close_matches(key, public, n=1, cutoff=LIKE):
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
    if isinstance(example, dict):
        ((name, (number, function)),) = example.items()
        right = isinstance(entry, dict) and all(_is_numbered(*item, function) for item in entry.items())
        return "" if right else f"such as {{{name!r}: ({number}, a function of {inspect.signature(function)})}}"
    asked = inspect.signature(example)
    by_name = {key: None for key, argument in asked.parameters.items() if argument.kind is argument.KEYWORD_ONLY}
    try:
        inspect.signature(entry).bind(*(asked.parameters.keys() - by_name.keys()), **by_name)
    except (TypeError, ValueError):
        return f"a function of {asked}"
    lacking = sorted(getattr(entry, "__abstractmethods__", ()))
    return f"a class that has {', '.join(lacking)}" if lacking else ""


def _is_numbered(name: Any, entry: Any, function: Any) -> bool:
    """Whether a pair of a number and such a function stands under a name."""
    match entry:
        case (int() | float(), build):
            return isinstance(name, str) and not _instead(build, function)
    return False
