"""Small plans for tests: rows made up from ids alone."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepcompress.plan_table import BASELINE, FAMILIES, Plan, PlannedModel

STEPS = ("finetune", "prune", "prune", "quantize", "prune", "train_teacher", "distill", "quantize")
STEP_OF = dict(zip(FAMILIES, STEPS, strict=True))
RECIPES = {
    "baseline": "finetune",
    "pruned": "prune.finetune",
    "quantized/qat": "quant.qat",
    "shipped/pruned": "prune.finetune",
    "teachers": "teachers.{name}.recipe",
    "students": "distill.student.recipe",
    "combined": "prune.finetune",
}


def plan(ids: Iterable[str], **changes: Mapping[str, Any]) -> Plan:
    """A plan of these models: `students/hint-vgg16` learned from `teachers/vgg16`, if that is there, and so on.

    `control={"pruned/a": "pruned/control"}` is what a column holds for some of them instead.
    """
    listed = list(ids)
    rows = (_row(model, listed) for model in listed)
    return Plan(
        replace(row, **{name: cells[row.id] for name, cells in changes.items() if row.id in cells}) for row in rows
    )


def write(path: Path, ids: Iterable[str]) -> Path:
    """The same as a file."""
    plan(ids).write(path)
    return path


def _row(model: str, listed: list[str]) -> PlannedModel:
    family, _, name = model.partition("/")
    method, _, rest = name.partition("-")
    fresh = family in ("baseline", "teachers", "students")
    return PlannedModel(
        model,
        family,
        STEP_OF[family],
        method=None if family in ("baseline", "shipped", "teachers", "combined") else method,
        sparsity=float(rest) if family in ("masked", "pruned") and rest else None,
        format=rest if family == "quantized" and rest != "fp32" else None,
        teacher=_teacher(rest, listed) if family == "students" else None,
        builds_on=None if fresh or BASELINE not in listed else BASELINE,
        recipe=next((key.format(name=name) for start, key in RECIPES.items() if model.startswith(start)), None),
    )


def _teacher(name: str, listed: list[str]) -> str | None:
    return next((model for model in (f"teachers/{name}", name) if model in listed), None)
