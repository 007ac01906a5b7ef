"""A model on its way through several steps, and what all steps share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deepcompress import registry
from deepcompress.combine.settings import STEPS
from deepcompress.training import finished, resume
from deepcompress.training.history import Epoch, History

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lightning_fabric import Fabric

    from deepcompress.combine.settings import Sections
    from deepcompress.models.checkpoint import Checkpoint, Encoded
    from deepcompress.models.classifier import Classifier
    from deepcompress.training.run import Data


@dataclass(frozen=True)
class Room:
    """What every step may use.

    Attributes:
        data: Images, seen as the baseline sees them.
        how: What params.yaml says.
        fabric: Gives device and precision.
        origin: The provenance of the result; its `seed` decides all that is random.
        curves: Table of the sensitivity stage, for the method of the section `prune`.
        teacher: File of the model that teaches.
        kept: Scratch folders of the trainings that ended, until `forget`.
    """

    data: Data
    how: Sections
    fabric: Fabric
    origin: dict[str, Any]
    curves: Path
    teacher: Path
    kept: list[Path] = field(default_factory=list)

    def once(self, step: str, model: Classifier, train: Callable[[], History], *parts: object) -> History:
        """Train a model in place as a step does, unless a run that was killed in a later step had done so.

        Args:
            step: Name of the step.
            model: As training starts from it.
            train: Trains it.
            parts: What decides how training ends, beside the model, the images and `origin`.
        """
        folder = resume.folder("combine", model, self.data.folder, step, self.origin, self.fabric.device, *parts)
        self.kept.append(folder)
        return finished.once(model, folder, train)

    def forget(self) -> None:
        """Remove what was kept, once all results are written."""
        self.data.forget()
        for folder in self.kept:
            resume.clear(folder)


@dataclass(frozen=True)
class Work:
    """A model between two steps.

    Attributes:
        source: The model as it stands, with its view and classes.
        done: Steps so far.
        next: The step to come; None behind the last.
        after_step: What training must call after each change of the weights, so that zeros stay zero.
        encodings: How its tensors are best stored; for `Checkpoint.save_alike`.
        history: A row per epoch of all steps.
    """

    source: Checkpoint
    done: tuple[str, ...] = ()
    next: str | None = None
    after_step: Callable[[], None] | None = None
    encodings: Mapping[str, str | Encoded] = field(default_factory=dict)
    history: tuple[Epoch, ...] = ()

    def then(self, source: Checkpoint, history: History, **changes: Any) -> Work:
        """After a step: its model, and its epochs behind those before."""
        before = len(self.history)
        epochs = tuple(dataclasses.replace(one, epoch=before + one.epoch) for one in history.epochs)
        return dataclasses.replace(self, source=source, history=self.history + epochs, **changes)


def run(start: Checkpoint, steps: tuple[str, ...], room: Room) -> Work:
    """Take a model through the steps, each a file in steps/.

    Args:
        start: The dense baseline.
        steps: Names, in order.
        room: What they share.

    Raises:
        UserError: As the steps do.
    """
    work = Work(start)
    for step, following in zip(steps, (*steps[1:], None), strict=True):
        work = registry.find(STEPS, step).run(dataclasses.replace(work, next=following), room)
        work = dataclasses.replace(work, done=(*work.done, step))
    return work
