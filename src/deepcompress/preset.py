"""Edit params.yaml, whose comments and other keys stay: lay a preset over it, `python -m deepcompress.preset NAME`, or
set keys by hand with no quoting to learn, `python -m deepcompress set KEY VALUE`.

A preset names what differs from the committed params. Every key that any preset names goes back to its default first
(`quick` holds those), so the file comes out the same whatever was laid over it before.
Keys are set by a command of our own because Hydra's grammar, which `dvc exp run -S` speaks, takes brackets, spaces and
tildes of a path for signs of its own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml

from deepcompress import files, params
from deepcompress.errors import Command, UserError

PRESETS = Path("presets")
DEFAULT = "quick"
NUMBER = re.compile(r"[-+]?(\d{1,15}\.?\d*|\.\d+)(e[-+]?\d{1,3})?", re.IGNORECASE | re.ASCII)
TAG = "tag:yaml.org,2002:"
PLAIN = ("true", "false", "null")
BRACKETS = {("'", "'"), ('"', '"'), ("[", "]"), ("{", "}")}


def load(name: str, folder: Path = PRESETS) -> dict[str, Any]:
    """Read a preset; a UserError lists those there are if it is none of them."""
    there = sorted(preset.stem for preset in folder.glob("*.yaml"))
    if not there:
        raise UserError(f"{folder}: no presets there; run this in the project's own folder")
    if name not in there:
        raise UserError(f"preset must be one of {', '.join(there)}; got {name!r}")
    return params.read_as_written(folder / f"{name}.yaml")


def lay(text: str, name: str, folder: Path = PRESETS) -> str:
    """The text of params.yaml under a preset; keys that no preset names stay as they are."""
    defaults, chosen = load(DEFAULT, folder), load(name, folder)
    kept = dict(params.leaves(defaults))
    others = [key for path in sorted(folder.glob("*.yaml")) for key, _ in params.leaves(load(path.stem, folder))]
    return apply(apply(text, defaults, remove=[key for key in others if key not in kept]), chosen)


def apply(text: str, overlay: dict[str, Any], remove: Iterable[str] = ()) -> str:
    """Set the overlay's leaves in the text of params.yaml; comments, order and all other keys stay as they are.

    A key that a block does not have yet becomes its first, and a null a block. Dotted keys to `remove` go first, where
    they are there. A UserError if the text is no YAML, or the overlay has a section that it lacks.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.representer import RoundTripRepresenter

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    editor.indent(mapping=2, sequence=4, offset=2)
    editor.Representer = type("Spelling", (RoundTripRepresenter,), {})  # of our own: DVC writes by the same library
    for kind, tag in ((type(None), f"{TAG}null"), (float, f"{TAG}float")):
        editor.representer.add_representer(kind, partial(_represent, tag))
    try:
        document = editor.load(text)
    except RecursionError:
        raise UserError("params.yaml: not YAML that can be read (nested too deeply)") from None
    except (YAMLError, *params.MISSPELT) as error:
        raise UserError(f"params.yaml: not YAML ({' '.join(str(error).split())})") from None
    for dotted in remove:
        place, last = _place(document, dotted, make=False)
        if place is not None:
            place.pop(last, None)
            _drop_empty(document, dotted, keep=set(dict(params.leaves(overlay))))
    for dotted, value in params.leaves(overlay):
        place, last = _place(document, dotted, make=True)
        if place is None:
            raise UserError(f"preset: {dotted} is unknown in params.yaml")
        if last not in place:
            place.insert(0, last, _spelled(value))
        elif place[last] != value or value == {} or isinstance(place[last], bool) != isinstance(value, bool):
            place[last] = _spelled(value)
    stream = io.StringIO()
    editor.dump(document, stream)
    return stream.getvalue()


def _place(document: Any, dotted: str, *, make: bool) -> tuple[Any, str]:
    """The block that a dotted key belongs in, or None, and the key's last part; `make` adds blocks within a section."""
    from ruamel.yaml.comments import CommentedMap

    *parents, last = dotted.split(".")
    place = document
    for depth, parent in enumerate(parents):
        if make and depth and isinstance(place, CommentedMap) and place.get(parent) is None:
            if parent in place:  # null; within braces its comment stays behind it
                place[parent] = CommentedMap()
                place[parent].fa.set_flow_style()
            else:
                place.insert(0, parent, CommentedMap())
        place = place.get(parent) if isinstance(place, dict) else None
    known = isinstance(place, CommentedMap) and (len(parents) > 0 or last in place)
    return (place if known else None), last


def _drop_empty(document: Any, dotted: str, keep: set[str]) -> None:
    """Take out the block of a key that was removed if nothing is left in it, and so on upwards; not one of `keep`."""
    parents = dotted.split(".")[:-1]
    while len(parents) > 1 and ".".join(parents) not in keep:
        place, last = _place(document, ".".join(parents), make=False)
        if place is None or place.get(last):
            return
        place.pop(last, None)
        parents.pop()


def as_arguments(overlay: dict[str, Any]) -> str:
    """The overlay as flags for `dvc exp run`; `++` sets a key whether the file has it or not."""
    return " ".join(f"-S '++{key}={_scalar(value)}'" for key, value in params.leaves(overlay))


def _scalar(value: Any) -> str:
    """As YAML 1.1 reads it: 1.0e-3, never 1e-3, and text in quotes if need be."""
    text = yaml.safe_dump(value, default_flow_style=True, width=4096).removesuffix("\n").removesuffix("\n...")
    return re.sub(r"e([-+])0", r"e\1", text) if isinstance(value, float) else text


def _represent(tag: str, writer: Any, value: Any) -> Any:
    return writer.represent_scalar(tag, _scalar(value))


def _spelled(value: Any) -> Any:
    from ruamel.yaml.scalarstring import SingleQuotedScalarString

    quoted = isinstance(value, str) and _scalar(value).startswith(("'", '"'))
    return SingleQuotedScalarString(value) if quoted else value


def set_(arguments: Sequence[str]) -> dict[str, Any]:
    """Write values into params.yaml, whose comments and other keys stay, once all of it passes the check of `plan`.

    Takes dotted keys, each with its value behind it as one types it, and gives what is understood; see `value`. A
    UserError if a key is unknown or a value is not allowed; the file then stays as it was.
    """
    from deepcompress import plan

    path = Path(params.PARAMS_FILE)
    sections = params.read_as_written(path)  # refuses what is damaged, and names the file
    if not arguments or len(arguments) % 2:
        raise UserError(f"set: each key needs a value, such as `set data.source folder`; got {' '.join(arguments)}")
    values: dict[str, Any] = {}
    overlay: dict[str, Any] = {}
    for key, text in zip(arguments[::2], arguments[1::2], strict=True):
        given = values[key] = value(text)
        first, *_ = parts = key.split(".")
        if first not in sections or not all(parts):
            raise UserError(f"{path}: {key} is unknown; sections: {', '.join(sections)}")
        if f"{key}{given}".encode("utf-8", "replace").decode() != f"{key}{given}":
            raise UserError(f"{path}: {key}: the value is no UTF-8; rename the file")
        place: Any = overlay
        there: Any = sections
        for depth, part in enumerate(parts[:-1], 1):
            place, there = place.setdefault(part, {}), there.get(part)
            there = {} if there is None else there  # a null may become a block
            if not isinstance(place, dict):
                raise UserError(f"{path}: {key} lies in a key that is set, too")
            if not isinstance(there, dict):
                block = ".".join(parts[:depth])
                raise UserError(f"{path}: {key} lies in no block: {block} is {there!r}; set {block}")
        if isinstance(given, dict) and not isinstance(there.get(parts[-1]), dict | None):
            raise UserError(f"{path}: {key} is one value, {there[parts[-1]]!r}, and no block")
        if parts[-1] in place:
            raise UserError(f"{path}: {key} is set twice")
        place[parts[-1]] = given
    content = apply(path.read_text(encoding="utf-8"), overlay)
    with files.atomic(path) as partial:
        partial.write_text(content, encoding="utf-8")
        try:
            plan.check(partial)
        except UserError as error:
            raise UserError(str(error).replace(str(partial), str(path))) from None
    return values


def value(text: str) -> Any:
    """A number, true, false, null, "quoted text", [a list], {a block} as YAML reads it; all else is text as it stands.

    YAML has more forms, which paths are more likely to meet by chance: `~`, dates, times, anchors, tags.
    """
    if NUMBER.fullmatch(text):
        return float(text) if set(text) & set(".eE") else int(text)
    if text and text not in PLAIN and (text[0], text[-1]) not in BRACKETS:
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, *params.MISSPELT):
        return text


@click.command(cls=Command)
@click.argument("name")
@click.option("--as-args", is_flag=True, help="Print -S flags for dvc exp run instead of changing params.yaml.")
@click.option(
    "--params-file", type=click.Path(path_type=Path), default=Path(params.PARAMS_FILE), help="File to change."
)
def main(name: str, as_args: bool, params_file: Path) -> None:
    """Lay the preset NAME, a file of presets/ without suffix, over params.yaml."""
    params.read_as_written(params_file)  # refuses what is damaged, and names the file
    changed = lay(params_file.read_text(encoding="utf-8"), name)
    if as_args:
        click.echo(as_arguments(load(name)))
    else:
        files.write_text(params_file, changed)
        click.echo(f"{params_file}: preset {name} is set; `git diff {params_file}` shows what changed")


if __name__ == "__main__":
    main()
