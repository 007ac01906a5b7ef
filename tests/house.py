"""How the tests see the house: which module imports which, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"

FLOORS = {
    "errors": 0,
    "files": 0,
    "params": 0,
    "processes": 0,
    "preset": 0,
    "registry": 0,
    "runtime": 0,
    "stopwatch": 0,
    "data": 1,
    "models": 1,
    "measure": 2,
    "explain": 2,
    "training": 3,
    "pruning": 4,
    "quantization": 4,
    "distillation": 4,
    "deploy": 4,
    "combine": 5,
    "report": 5,
    "plan": 5,
    "__main__": 5,
}
METHODS = {room for room, floor in FLOORS.items() if floor == 4}


def modules() -> list[Path]:
    """Every module of the package, without `__init__` files."""
    return sorted(path for path in (SOURCE / "deepcompress").rglob("*.py") if path.name != "__init__.py")


def room(path: Path) -> str:
    """The package, or the top-level module, that a file belongs to."""
    return path.relative_to(SOURCE / "deepcompress").with_suffix("").parts[0]


@cache
def imports(path: Path) -> frozenset[Path]:
    """Files of the package that a file imports anywhere in its code; imports for annotations only do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {_file(name) for node in _running(tree) for name in _names(node)}
    return frozenset(file for file in found if file and file != path)


def closure(path: Path) -> set[Path]:
    """All files of the package that running `path` can import, at any distance."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        for file in imports(waiting.pop()):
            if file not in seen:
                seen.add(file)
                waiting.append(file)
    return seen


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


def _file(name: str) -> Path | None:
    if name.split(".")[0] != "deepcompress":
        return None
    path = SOURCE / Path(*name.split(".")).with_suffix(".py")
    return path if path.is_file() else None
