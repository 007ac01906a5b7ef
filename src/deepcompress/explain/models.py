"""The models of a plan, opened, and what each is compared with: its teacher, or the baseline."""

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
    from deepcompress.models.classifier import Classifier

BASELINE = "baseline"
TEACHERS, STUDENTS, MASKED = "teachers/", "students/", "masked/"


@dataclass(frozen=True)
class Pair:
    """A model and what it is compared with.

    Attributes:
        model: A student, or a compressed model.
        reference: The baseline; for a student also its teacher, for a control every teacher in turn.
    """

    model: str
    reference: str


def planned(plan: Path) -> list[str]:
    """Ids of the models of a plan that are looked at, in its order: all but those as pruning alone left them.

    Raises:
        UserError: If the plan is missing or damaged, or has nothing to compare.
    """
    content = files.read_json(plan)
    ids = content.get("models") if isinstance(content, dict) else None
    if not isinstance(ids, list):
        raise UserError(f'{plan}: "models" must list the ids of models; got {ids!r}')
    found = [str(model) for model in ids if not str(model).startswith(MASKED)]
    if not pairs(found):
        raise UserError(
            f"{plan}: has no student with a teacher and no compressed model, so there is nothing to compare"
        )
    return found


def pairs(ids: list[str]) -> list[Pair]:
    """Each student with the teacher that its id names, or with all; each model but teachers with the baseline.

    Students tell how alike to the baseline a network is that does not descend from it.
    """
    teachers = [model.removeprefix(TEACHERS) for model in ids if model.startswith(TEACHERS)]
    found = []
    for model in ids:
        if model.startswith(STUDENTS):
            own = model.rpartition("-")[2]
            found += [Pair(model, TEACHERS + name) for name in ([own] if own in teachers else teachers)]
        if BASELINE in ids and model != BASELINE and not model.startswith(TEACHERS):
            found.append(Pair(model, BASELINE))
    return found


def load(
    ids: list[str], folder: Path, *, classes: tuple[str, ...], device: torch.device
) -> tuple[dict[str, Classifier], View]:
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
