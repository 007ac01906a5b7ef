"""The teachers and students of a plan, opened, and which student is compared with which teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deepcompress import files
from deepcompress.errors import UserError
from deepcompress.models import checkpoint

if TYPE_CHECKING:
    from deepcompress.data.batches import View
    from deepcompress.models.vgg import VGG

TEACHERS, STUDENTS = "teachers/", "students/"


@dataclass(frozen=True)
class Pair:
    """A student and the teacher that it is compared with; a control is compared with every teacher."""

    student: str
    teacher: str


def planned(plan: Path) -> list[str]:
    """Ids of the teachers and students of a plan, in its order.

    Raises:
        UserError: If the plan is missing or damaged, or has no teacher or no student.
    """
    content = files.read_json(plan)
    ids = content.get("models") if isinstance(content, dict) else None
    if not isinstance(ids, list):
        raise UserError(f'{plan}: "models" must list the ids of models; got {ids!r}')
    found = [model for model in ids if str(model).startswith((TEACHERS, STUDENTS))]
    for family in (TEACHERS, STUDENTS):
        if not any(model.startswith(family) for model in found):
            raise UserError(f"{plan}: has no model of {family[:-1]}, so there is nothing to compare")
    return found


def pairs(ids: list[str]) -> list[Pair]:
    """Each student with the teacher that its id names; one that names none with every teacher."""
    teachers = [model.removeprefix(TEACHERS) for model in ids if model.startswith(TEACHERS)]
    found = []
    for student in ids:
        if student.startswith(STUDENTS):
            own = student.rpartition("-")[2]
            found += [Pair(student, TEACHERS + name) for name in ([own] if own in teachers else teachers)]
    return found


def load(
    ids: list[str], folder: Path, *, classes: tuple[str, ...], device: torch.device
) -> tuple[dict[str, VGG], View]:
    """The models in evaluation mode on a device, and the view that they share.

    Raises:
        UserError: If a file is missing or damaged, or a model knows other classes or needs other pixels.
    """
    found, views = {}, set()
    for model in ids:
        path = folder / f"{model}.safetensors"
        loaded = checkpoint.load(path)
        if loaded.classes != tuple(classes):
            raise UserError(f"{path}: made for other classes than the validation images have")
        views.add(loaded.view)
        if len(views) > 1:
            raise UserError(f"{path}: sees images as {loaded.view}, unlike the models before it")
        found[model] = loaded.model.to(device).to(memory_format=torch.channels_last)
    return found, views.pop()
