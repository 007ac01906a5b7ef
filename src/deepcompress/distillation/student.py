"""Students from start to end: the same network, start, images and steps for every method."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from deepcompress import files, runtime
from deepcompress.distillation import teacher_cache
from deepcompress.distillation.loss import LossContext
from deepcompress.distillation.objective import DistillObjective, build_losses
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.training import run
from deepcompress.training.loop import CrossEntropy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lightning_fabric import Fabric

    from deepcompress.data.batches import View
    from deepcompress.distillation.settings import Distill
    from deepcompress.models.vgg import Classifier
    from deepcompress.training.inputs import TrainingData
    from deepcompress.training.loop import History, Objective
    from deepcompress.training.run import TrainingRun

    MakeObjective = Callable[[Classifier, TrainingData], Objective]


class StudentTrainer:
    """Trains students on the same images, as the `distill` section says.

    Args:
        config: The `distill` section.
        training: The images, and how a student sees them; clears what resuming needs once the stage has ended.
        fabric: Gives device and precision.
        seed: Of the pipeline.
    """

    def __init__(self, config: Distill, training: TrainingRun, *, fabric: Fabric, seed: int) -> None:
        self.config, self.training, self.fabric, self._seed = config, training, fabric, seed

    def train(self, method: str, teacher_file: Path | None, provenance: dict[str, Any]) -> tuple[Classifier, History]:
        """Train a fresh student.

        Of several processes the first alone goes on from here, to write the results.

        Args:
            method: A method or mixture; without a teacher a control.
            teacher_file: A checkpoint, or None.
            provenance: Of the result; with the teacher's file all else that decides how training ends.

        Returns:
            The model, and what each epoch came to.

        Raises:
            UserError: If there is no such method, the teacher cannot teach here, or training diverges.
        """
        make_objective = self._objective(method, teacher_file)
        seed = runtime.derived_seed(self._seed, "student")
        runtime.make_deterministic(seed)
        model = run.network(self.config.student, len(self.training.images.meta.classes), "distill.student")
        return model, self._train(model, make_objective, teacher_file, {**provenance, "seed": seed})

    def train_from(
        self,
        model: Classifier,
        method: str,
        teacher_file: Path,
        provenance: dict[str, Any],
        *,
        after_step: Callable[[], None] | None,
    ) -> History:
        """Train a given network in place, as the student's recipe says.

        Args:
            model: Its classes are those of the images.
            method: A method or mixture; what follows and what is raised are as in `train`.
            teacher_file: A checkpoint.
            provenance: Of the result.
            after_step: Is called after each change of the weights, as masks need it.
        """
        make_objective = self._objective(method, teacher_file)
        runtime.make_deterministic(runtime.derived_seed(self._seed, "student"))
        model.to(self.fabric.device)
        return self._train(model, make_objective, teacher_file, {**provenance, "seed": self._seed}, after_step)

    def _train(
        self,
        model: Classifier,
        make_objective: MakeObjective,
        teacher_file: Path | None,
        provenance: dict[str, Any],
        after_step: Callable[[], None] | None = None,
    ) -> History:
        """An interrupted run is taken up only with the same file of the teacher."""
        identity = {**provenance, "teacher": files.sha256(teacher_file) if teacher_file else None}
        return self.training.train(
            model,
            partial(make_objective, model),
            self.config.student.recipe,
            fabric=self.fabric,
            provenance=identity,
            after_step=after_step,
        )

    def _objective(self, method: str, teacher_file: Path | None) -> MakeObjective:
        if teacher_file is None:
            smoothing = self.config.control(method).label_smoothing
            return lambda model, data: CrossEntropy(smoothing)
        cross_entropy, weighted = self.config.weighted(method)
        teacher = load_teacher(teacher_file, classes=self.training.images.meta.classes, view=self.training.view)
        folder, labels = self._teacher_folder(teacher_file), torch.from_numpy(self.training.images.train.labels)

        def make(model: Classifier, data: TrainingData) -> Objective:
            losses = build_losses(weighted, LossContext(model, teacher, labels))
            outputs = teacher_cache.cached_teacher(
                teacher,
                data.train,
                list(dict.fromkeys(tap for _, loss in losses.values() for tap in loss.teacher_taps)),
                logits=any(loss.reads_logits for _, loss in losses.values()),
                fabric=self.fabric,
                folder=folder,
                budget_mib=self.config.cache_budget_mib,
            )
            return DistillObjective(
                losses,
                outputs,
                cross_entropy=cross_entropy,
                label_smoothing=self.config.student.recipe.label_smoothing,
                steps_per_epoch=len(data.train),
            )

        return make

    def _teacher_folder(self, teacher_file: Path) -> Path:
        """Where all students of a teacher find its outputs."""
        images = files.sha256(self.training.folder / "train_images.npy")
        size, precision = self.config.student.recipe.batch_size, self.fabric.strategy.precision.precision
        parts = (self.training.view, size, precision, self.fabric.device.type, torch.__version__)
        return runtime.scratch("teacher", files.sha256(teacher_file), images, *parts)


def load_teacher(path: Path, *, classes: tuple[str, ...], view: View) -> Classifier:
    """The teacher of a file: frozen, in evaluation mode, on the CPU.

    Args:
        path: A checkpoint.
        classes: Of the student's data.
        view: How the student sees an image; the teacher sees the same pixels.

    Raises:
        UserError: If the file is damaged, or the teacher knows other classes or needs other pixels.
    """
    loaded = checkpoint.load(path)
    if len(loaded.classes) != len(classes):
        counts = f"{len(loaded.classes)} classes apart, the training images have {len(classes)}"
        raise UserError(f"{path}: the teacher tells {counts}")
    for number, (its, own) in enumerate(zip(loaded.classes, classes, strict=True)):
        if its != own:
            raise UserError(f"{path}: the teacher's class {number} is {its!r}, that of the training images is {own!r}")
    if loaded.view != view:
        raise UserError(f"{path}: the teacher sees images as {loaded.view}, the student as {view}; train it again")
    return loaded.model.requires_grad_(False).eval()
