"""A hash of the code behind each stage and each plug-in, so that exactly those stages run again whose code changed.

The code of a stage is its file and all files of the package that it can import. Plug-ins, which are found by name, have
hashes of their own: a plug-in is a file in a package within a package, such as pruning/criteria/taylor.py. Comments,
docstrings and the layout of lines do not count. All hashes lie in one JSON file, and dvc.yaml names the keys of it that
a stage depends on under `params`: `stages.prune`, `pruning.criteria` (a room of plug-ins),
`distillation.losses.${item.method}`.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import click

from deepcompress import files
from deepcompress.errors import Command, UserError

PACKAGE = "deepcompress"
DIGITS = 16  # of a SHA-256; enough against chance, and short enough to read in a review
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

Hashes = dict[str, Any]
"""Nested by folder: {"stages": {"prune": "0f1e..."}, "pruning": {"criteria": {"taylor": "2d3c..."}}}."""


def hashes(root: Path) -> Hashes:
    """The hash of every stage and of every plug-in of the project in a folder; a UserError names what is not Python."""
    package = root / "src" / PACKAGE
    entries: dict[tuple[str, ...], Path] = {("stages", path.stem): path for path in (root / "stages").glob("[!_]*.py")}
    entries |= {path.relative_to(package).with_suffix("").parts: path for path in package.glob("*/*/[!_]*.py")}
    found: Hashes = {}
    for keys, path in sorted(entries.items()):
        inner = found
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        code = sorted((file.relative_to(root).as_posix(), digest(file)) for file in {path} | closure(root, path))
        inner[keys[-1]] = hashlib.sha256(repr(code).encode()).hexdigest()[:DIGITS]
    return found


def closure(root: Path, path: Path) -> set[Path]:
    """All files of the package that running `path` can import, at any distance."""
    return reached(path, partial(imports, root))


def reached(start: Path, step: Callable[[Path], Iterable[Path]]) -> set[Path]:
    """All that can be reached from a file by one step or more; `step` gives what one leads to."""
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        new = set(step(waiting.pop())) - seen
        seen |= new
        waiting += new
    return seen


@cache
def imports(root: Path, path: Path) -> frozenset[Path]:
    """Files of the package that a file imports anywhere in its code; imports for annotations only do not count."""
    names = (name.split(".") for name in imported(path))
    paths = {(root / "src" / Path(*parts)).with_suffix(".py") for parts in names if parts[0] == PACKAGE}
    return frozenset(file for file in paths if file != path and file.is_file())


def imported(path: Path) -> set[str]:
    """Names of the modules, or of what is in them, that a file imports anywhere in its code."""
    return {name for node in _running(_parsed(path)) for name in _names(node)}


@cache
def digest(path: Path) -> str:
    """SHA-256 of what a Python file does."""
    tree = _parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return hashlib.sha256(_canonical(tree).encode()).hexdigest()


def digest_of(paths: Iterable[Path]) -> str:
    """The same of several files in this order, wherever they lie."""
    return hashlib.sha256(repr([digest(path) for path in paths]).encode()).hexdigest()


def _canonical(node: object) -> str:
    """A syntax tree as text, the same by every Python; `ast.dump` shows empty fields, and each version adds some."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        return f"{type(node).__name__}({', '.join(f'{name}={_canonical(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_canonical, node))}]"
    return ascii(node)


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path}: not Python: {error}") from error


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _running(child)


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


@click.command(cls=Command)
@click.option("--file", "path", type=click.Path(path_type=Path), required=True, help="JSON file to write")
def main(path: Path) -> None:
    """Write the hashes of the code in the working folder."""
    files.write_json(path, hashes(Path()))


if __name__ == "__main__":
    main()
