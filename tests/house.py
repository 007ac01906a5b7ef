"""How the tests see the house: which module imports which, read from the source without running it."""

from __future__ import annotations

from pathlib import Path

from deepcompress import code_hash

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"

FLOORS = {
    "errors": 0,
    "files": 0,
    "code_hash": 0,
    "params": 0,
    "registry": 0,
    "runtime": 0,
    "plan_table": 0,
    "data": 1,
    "models": 1,
    "measure": 2,
    "explain": 2,
    "training": 3,
    "pruning": 4,
    "quantization": 4,
    "distillation": 4,
    "deploy": 4,
    "report": 5,
    "input_files": 5,
    "plan": 5,
    "preset": 5,
    "replicates": 5,
    "repro": 5,
    "stale": 5,
    "__main__": 5,
    "progress": 5,
    "api": 6,
}
METHODS = {room for room, floor in FLOORS.items() if floor == 4}


def modules() -> list[Path]:
    """Every module of the package, without `__init__` files."""
    return sorted(path for path in (SOURCE / "deepcompress").rglob("*.py") if path.name != "__init__.py")


def room(path: Path) -> str:
    """The package, or the top-level module, that a file belongs to."""
    return path.relative_to(SOURCE / "deepcompress").with_suffix("").parts[0]


def imports(path: Path) -> frozenset[Path]:
    """Files of the package that a file imports anywhere in its code; imports for annotations only do not count."""
    return code_hash.imports(ROOT, path)


def closure(path: Path) -> set[Path]:
    """All files of the package that running `path` can import, at any distance."""
    return code_hash.closure(ROOT, path)
