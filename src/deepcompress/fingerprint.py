"""The code behind each stage and each plug-in: all files that it can import, with a hash each.

A stage depends on its own list and on those of the plug-ins that it finds by name, so a change makes exactly those
stages stale that can run it. Comments, docstrings and empty lines do not count. A plug-in is a file in a package within
a package, such as pruning/criteria/taylor.py.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from deepcompress.errors import UserError

PACKAGE = "deepcompress"


def lists(root: Path) -> dict[Path, str]:
    """The list of every stage and of every plug-in.

    Args:
        root: The project's folder: src/ and stages/ lie in it.

    Returns:
        Path such as stages/prune.txt or pruning/criteria/taylor.txt -> a line `<sha256>  <path>` for each file that
        running stages/prune.py or that plug-in can import, and for itself, sorted by path.

    Raises:
        UserError: If a file of the code is not Python.
    """
    entries = {Path("stages", file.name): file for file in (root / "stages").glob("*.py")}
    package = root / "src" / PACKAGE
    for room in package.glob("*/*/__init__.py"):
        entries |= {file.relative_to(package): file for file in room.parent.glob("[!_]*.py")}
    return {name.with_suffix(".txt"): _list(root, entries[name]) for name in sorted(entries)}


def _list(root: Path, entry: Path) -> str:
    code = sorted(file.relative_to(root).as_posix() for file in {entry} | closure(root, entry))
    return "".join(f"{digest(root / name)}  {name}\n" for name in code)


def closure(root: Path, path: Path) -> set[Path]:
    """All files of the package that running `path` can import, at any distance."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        for file in imports(root, waiting.pop()):
            if file not in seen:
                seen.add(file)
                waiting.append(file)
    return seen


@cache
def imports(root: Path, path: Path) -> frozenset[Path]:
    """Files of the package that a file imports anywhere in its code; imports for annotations only do not count."""
    tree = _parsed(path, path.read_bytes())
    found = {_file(root, name) for node in _running(tree) for name in _names(node)}
    return frozenset(file for file in found if file and file != path)


@cache
def digest(path: Path) -> str:
    """SHA-256 of what a Python file does: its text without comments, docstrings and empty lines between statements."""
    source = path.read_bytes()
    lines = source.splitlines(keepends=True)
    cuts = [*_docstrings(_parsed(path, source)), *_comments(source)]
    for (first, start), (last, end) in sorted(cuts, reverse=True):
        lines[first - 1 : last] = [lines[first - 1][:start].rstrip() + lines[last - 1][end:], *[b""] * (last - first)]
    empty = {row for row, line in enumerate(lines, 1) if not line.strip()} - _inside_strings(source)
    return hashlib.sha256(b"".join(line for row, line in enumerate(lines, 1) if row not in empty)).hexdigest()


Span = tuple[tuple[int, int], tuple[int, int]]
"""Line from 1 and byte from 0, of the start and behind the end."""


def _docstrings(tree: ast.AST) -> Iterator[Span]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            said = node.body[0]
            yield (said.lineno, said.col_offset), (said.end_lineno or 0, said.end_col_offset or 0)


def _comments(source: bytes) -> Iterator[Span]:
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            start = len(token.line[:column].encode())
            yield (row, start), (row, start + len(token.string.encode()))


def _inside_strings(source: bytes) -> set[int]:
    """Lines that a string covers from their start to their end; where they are empty they are its content."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant | ast.JoinedStr)]
    return {row for node in nodes for row in range(node.lineno + 1, node.end_lineno or node.lineno)} - {
        row for (first, _), (last, _) in _docstrings(ast.parse(source)) for row in range(first, last + 1)
    }


def _parsed(path: Path, source: bytes) -> ast.Module:
    try:
        return ast.parse(source)
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


def _file(root: Path, name: str) -> Path | None:
    if name.split(".")[0] != PACKAGE:
        return None
    path = (root / "src" / Path(*name.split("."))).with_suffix(".py")
    return path if path.is_file() else None
