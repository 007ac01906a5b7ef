"""What the tests of the documentation read in a page: code blocks, the files and commands that it tells of, links."""

import itertools
import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.house import ROOT

DOCS = ROOT / "docs"
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
WRITTEN = re.compile(r"Write `([^`]+)`")
INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Recipe:
    """A section of a page that tells how to add a plug-in."""

    files: dict[str, str]  # path that is to be written -> its content
    commands: tuple[str, ...]  # in the order of the page, without `uv run`

    def write(self, folder: Path) -> None:
        """Do what the page says with its files."""
        for name, code in self.files.items():
            (folder / name).write_text(code, encoding="utf-8")

    def beginning(self, start: str) -> list[str]:
        """The commands that begin so."""
        return [command for command in self.commands if command.startswith(start)]


def read(name: str) -> str:
    """The text of a page of docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def recipes(page: Path) -> list[Recipe]:
    """The sections of a page that write files."""
    parts = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return [recipe for recipe in map(_recipe, parts) if recipe.files]


def values(command: str) -> dict[str, Any]:
    """What the flags -S of a command change, as an overlay of params.yaml."""
    changes: dict[str, Any] = {}
    for flag, word in itertools.pairwise(shlex.split(command)):
        if flag == "-S":
            key, _, value = word.removeprefix("+").partition("=")
            changes = merged(changes, at(key, yaml.safe_load(value)))
    return changes


def at(key: str, value: Any) -> Any:
    """A value at a dotted key, as an overlay of params.yaml."""
    first, _, rest = key.partition(".")
    return {first: at(rest, value)} if key else value


def merged(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A document with the changed values, new keys included."""
    inner = {k: merged(document.get(k, {}), v) if isinstance(v, dict) and v else v for k, v in changes.items()}
    return document | inner


def prose(text: str) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", text)


def _recipe(part: str) -> Recipe:
    files = {}
    for block in FENCE.finditer(part):
        named = WRITTEN.findall(part[: block.start()])
        if block["language"] == "python" and named:
            files[named[-1]] = textwrap.dedent(block["body"])
    said = [command.removeprefix("uv run ") for command in INLINE.findall(prose(part)) if command.startswith("uv run ")]
    return Recipe(files, tuple(said))
