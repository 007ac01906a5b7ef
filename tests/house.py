"""How the tests see the house: which room is on which floor, the stages of dvc.yaml, what git has."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
STAGES: dict[str, dict[str, Any]] = {name: body.get("do", body) for name, body in DVC.items()}  # of a `foreach` each

ROOMS = (  # by floor, the lowest first: imports go down
    ("errors", "files", "code_hash", "params", "runtime", "plan_table"),
    ("data", "models"),
    ("measure", "explain"),
    ("training",),
    ("pruning", "quantization", "distillation", "deploy"),
    ("report", "dependencies", "plan", "preset", "replicates", "repro", "forks", "progress", "stale", "__main__"),
    ("api",),
)
FLOORS = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
METHODS = set(ROOMS[4])


def modules() -> list[Path]:
    """Every module of the package, without `__init__` files."""
    return sorted(path for path in (SOURCE / "deepcompress").rglob("*.py") if path.name != "__init__.py")


def tracked(*patterns: str) -> list[str]:
    """The files that git tracks or would track, by their path in the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [name for name in sorted(listed) if name and (ROOT / name).is_file()]


def room(path: Path) -> str:
    """The package, or the top-level module, that a file belongs to."""
    return path.relative_to(SOURCE / "deepcompress").with_suffix("").parts[0]
