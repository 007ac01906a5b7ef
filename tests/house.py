"""How the tests see the house: which room is on which floor."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"

ROOMS = (  # by floor, the lowest first: imports go down
    ("errors", "files", "code_hash", "params", "runtime", "plan_table"),
    ("data", "models"),
    ("measure", "explain"),
    ("training",),
    ("pruning", "quantization", "distillation", "deploy"),
    (
        "report",
        "choices",
        "input_files",
        "plan",
        "preset",
        "replicates",
        "repro",
        "forks",
        "progress",
        "stale",
        "__main__",
    ),
    ("api",),
)
FLOORS = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
METHODS = set(ROOMS[4])


def modules() -> list[Path]:
    """Every module of the package, without `__init__` files."""
    return sorted(path for path in (SOURCE / "deepcompress").rglob("*.py") if path.name != "__init__.py")


def room(path: Path) -> str:
    """The package, or the top-level module, that a file belongs to."""
    return path.relative_to(SOURCE / "deepcompress").with_suffix("").parts[0]
