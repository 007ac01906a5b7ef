"""The models of a plan, opened, and what each is compared with: its teacher, or the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.plan_table import BASELINE, Plan

if TYPE_CHECKING:
    from deepcompress.data.batches import View
    from deepcompress.models.classifier import Classifier


@dataclass(frozen=True)
class Pair:
    """A model and what it is compared with.

    Attributes:
        model: A student, or a compressed model.
        reference: The baseline; for a student also its teacher, for a control every teacher in turn.
    """

    model: str
    reference: str


def pairs(plan: Plan) -> list[Pair]:
    """Each student with its teacher, or a control with all; each model but teachers and masked ones with the baseline.

    Students tell how alike to the baseline a network is that does not descend from it.

    Raises:
        UserError: If the plan has nothing to compare.
    """
    teachers = [model.id for model in plan if model.family == "teachers"]
    listed = []
    for model in plan:
        if model.family == "students":
            listed += [Pair(model.id, teacher) for teacher in ([model.teacher] if model.teacher else teachers)]
        if model.family not in ("baseline", "teachers", "masked"):
            listed.append(Pair(model.id, BASELINE))
    if not listed:
        raise UserError("the plan has no student and no compressed model, so there is nothing to compare")
    return listed


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
