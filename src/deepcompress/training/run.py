"""One training as a stage runs it: its images, frozen layers computed once, the loop, an interruption survived."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deepcompress.data.store import open_fit
from deepcompress.params import DEVICE_BUDGET_MIB
from deepcompress.training import finished, frozen, inputs, loop, resume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lightning_fabric import Fabric
    from torch import nn

    from deepcompress.data.batches import View
    from deepcompress.data.store import Fit
    from deepcompress.training.history import History
    from deepcompress.training.objective import Objective
    from deepcompress.training.recipe import Recipe

FINISHED = "finished"  # folder below that of the training it belongs to


@dataclass(frozen=True)
class Data:
    """What is trained on.

    Attributes:
        folder: Where the images lie; an interrupted run is taken up only on the same files.
        view: How they become the model's input.
        budget_mib: See `store.Arrays`.
        kept: Scratch folders of the trainings on it that ended, until `forget`.
    """

    folder: Path
    view: View
    budget_mib: int = DEVICE_BUDGET_MIB
    kept: list[Path] = field(default_factory=list, compare=False)

    @cached_property
    def images(self) -> Fit:
        """Training and validation images, mapped.

        Raises:
            UserError: If a file is missing or damaged.
        """
        return open_fit(self.folder, self.budget_mib)

    def forget(self) -> None:
        """Remove what is kept of the trainings that ended, once all results are written."""
        for folder in self.kept:
            resume.clear(folder / FINISHED)
            resume.clear(folder)


def run(
    model: nn.Module,
    objective: Objective,
    data: Data,
    recipe: Recipe,
    *,
    fabric: Fabric,
    origin: dict[str, Any],
    after_step: Callable[[], None] | None = None,
) -> History:
    """Train a model in place as its recipe says; see `loop.train` for what becomes of it.

    What kills the stage between the end of the training and `data.forget()` does not repeat the training.

    Args:
        model: As training starts from it.
        objective: What to minimise.
        data: To train on, and to choose on.
        recipe: Everything that params.yaml says of the training.
        fabric: Gives device, precision and processes.
        origin: The provenance of the result: its `stage` and `seed`, and all else that decides how training ends.
        after_step: Is called after each change of the weights.

    Raises:
        UserError: If training diverges, or batches are too small for the model.
    """
    seed = int(origin["seed"])
    folder = resume.folder(str(origin["stage"]), model, data.folder, origin, fabric.device.type)
    data.kept.append(folder)

    def train() -> History:
        batches = inputs.training_data(data.images, data.view, recipe, device=fabric.device, seed=seed, model=model)
        part, seen = frozen.trainable_part(model, batches, recipe, fabric=fabric, folder=folder)
        return loop.train(
            part, objective, seen, recipe, fabric=fabric, seed=seed, resume_folder=folder, after_step=after_step
        )

    return finished.once(model, folder / FINISHED, train)
