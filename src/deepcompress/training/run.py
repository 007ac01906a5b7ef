"""Training as a stage runs it: the network it starts from, its images, frozen layers computed once, resuming."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deepcompress import processes
from deepcompress.data.batches import View
from deepcompress.data.store import open_fit, read_meta
from deepcompress.models.build import build
from deepcompress.models.spec import asked
from deepcompress.models.weights import load_pretrained_
from deepcompress.params import DEVICE_BUDGET_MIB
from deepcompress.training import inputs, loop, resume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lightning_fabric import Fabric
    from torch import nn

    from deepcompress.data.store import Fit
    from deepcompress.models.spec import Model
    from deepcompress.models.vgg import Classifier
    from deepcompress.training.inputs import TrainingData
    from deepcompress.training.loop import History, Objective
    from deepcompress.training.recipe import Recipe


@dataclass(frozen=True)
class TrainingRun:
    """What one stage trains on; as a context manager it clears what resuming needs, once the stage has ended well.

    Attributes:
        folder: Where the images lie; an interrupted run is taken up only on the same files.
        view: How they become the model's input.
        budget_mib: See `store.Arrays`.
        resume_folders: Of the trainings so far.
    """

    folder: Path
    view: View
    budget_mib: int = DEVICE_BUDGET_MIB
    resume_folders: list[Path] = field(default_factory=list, compare=False)

    @classmethod
    def of_size(cls, folder: Path, size: int, budget_mib: int = DEVICE_BUDGET_MIB) -> TrainingRun:
        """Images seen at a size [px] and normalised by their own mean and deviation."""
        meta = read_meta(folder)
        return cls(folder, View(size, meta.mean, meta.std), budget_mib)

    def __enter__(self) -> TrainingRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            for folder in self.resume_folders:
                resume.clear(folder)

    @cached_property
    def images(self) -> Fit:
        """Training and validation images, mapped.

        Raises:
            UserError: If a file is missing or damaged.
        """
        return open_fit(self.folder, self.budget_mib)

    def train(
        self,
        model: nn.Module,
        objective: Objective | Callable[[TrainingData], Objective],
        recipe: Recipe,
        *,
        fabric: Fabric,
        provenance: dict[str, Any],
        after_step: Callable[[], None] | None = None,
    ) -> History:
        """Train a model in place as its recipe says; see `loop.train` for what becomes of it.

        Of several processes the first alone goes on from here, to write the results. What kills the stage before it
        has ended does not repeat the epochs that were done.

        Args:
            model: As training starts from it.
            objective: What to minimise; or what makes it of the batches: it may look at all of the model, so that no
                layer's output is computed ahead.
            recipe: Everything that params.yaml says of the training.
            fabric: Gives device, precision and processes.
            provenance: Of the result: its `stage` and `seed`, and all else that decides how training ends.
            after_step: Is called after each change of the weights.

        Raises:
            UserError: If training diverges, or batches are too small for the model.
        """
        seed = int(provenance["seed"])
        folder = resume.folder(str(provenance["stage"]), model, self.folder, provenance, fabric.device.type)
        self.resume_folders.append(folder)
        data, part = inputs.training_data(self.images, self.view, recipe, device=fabric.device, seed=seed), model
        if isinstance(objective, loop.Objective):
            part, data = inputs.trainable_part(model, data, recipe, fabric=fabric)
        else:
            objective = objective(data)
        history = loop.train(
            part, objective, data, recipe, fabric=fabric, seed=seed, resume_folder=folder, after_step=after_step
        )
        processes.first_only()
        return history


def network(model: Model, classes: int, key: str) -> Classifier:
    """A network on the CPU; what is not pretrained is drawn from torch's global generator.

    Args:
        model: The section.
        classes: Number of logits.
        key: Of the section in params.yaml, for messages.

    Raises:
        UserError: If the weights cannot be had, or do not fit.
    """
    network = build(asked(model, classes))
    if model.weights is not None:
        load_pretrained_(network, model.weights, key)
    return network
