"""One student from start to end: the same network, start, images and steps for every method, from each seed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from deepcompress import files, runtime
from deepcompress.data.batches import View
from deepcompress.data.store import open_fit
from deepcompress.distillation import teacher, teacher_cache, transfer
from deepcompress.distillation.loss import Setting
from deepcompress.distillation.repeats import Training
from deepcompress.params import DEVICE_BUDGET_MIB
from deepcompress.training import inputs, loop, resume, start
from deepcompress.training.objective import CrossEntropy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lightning_fabric import Fabric

    from deepcompress.distillation.settings import Distill
    from deepcompress.models.classifier import Classifier
    from deepcompress.training.history import History
    from deepcompress.training.inputs import TrainingData
    from deepcompress.training.objective import Objective

    MakeObjective = Callable[[Classifier, TrainingData], Objective]


class Course:
    """What all students share.

    Args:
        how: The `distill` section.
        fit: Folder of training and validation images.
        fabric: Gives device and precision.
        seed: Of the pipeline.
        budget_mib: See `store.Arrays`.
    """

    def __init__(
        self, how: Distill, *, fit: Path, fabric: Fabric, seed: int, budget_mib: int = DEVICE_BUDGET_MIB
    ) -> None:
        self.how, self.fabric, self._fit, self._seed = how, fabric, fit, seed
        self.images = open_fit(fit, budget_mib)
        self.view = View(how.student.image_size, self.images.meta.mean, self.images.meta.std)

    def alone(self, control: str) -> MakeObjective:
        """The objective of a control: cross-entropy, no teacher.

        Raises:
            UserError: If there is no such control; lists those there are.
        """
        smoothing = self.how.control(control).label_smoothing
        return lambda model, data: CrossEntropy(smoothing)

    def taught(self, method: str, teacher_file: Path) -> MakeObjective:
        """The objective of a method with a teacher.

        Raises:
            UserError: If there is no such method, or the teacher cannot teach here.
        """
        cross_entropy, weighted = self.how.weighted(method)
        network = teacher.load(teacher_file, classes=self.images.meta.classes, view=self.view)
        recipe, digest = self.how.student.recipe, files.sha256(teacher_file)
        labels = torch.from_numpy(self.images.train.labels)

        def objective(model: Classifier, data: TrainingData) -> Objective:
            losses = transfer.build(weighted, Setting(model, network, labels))
            return transfer.Transfer(
                losses,
                teacher_cache.teacher(
                    network,
                    data.train,
                    list(dict.fromkeys(one for _, loss in losses.values() for one in loss.teacher_taps)),
                    logits=any(loss.reads_logits for _, loss in losses.values()),
                    fabric=self.fabric,
                    folder=self._answers(digest),
                    budget_mib=self.how.cache_budget_mib,
                ),
                cross_entropy=cross_entropy,
                label_smoothing=recipe.label_smoothing,
                steps_per_epoch=len(data.train),
            )

        return objective

    def training(self, number: int, objective: MakeObjective, *identity: object) -> Training:
        """The training of one seed, ready to run.

        Args:
            number: The seed, as in `distill.seeds`.
            objective: Of a method or control.
            identity: All else that decides how the training ends: params, the teacher's checksum.
        """
        seed, recipe = runtime.derived_seed(self._seed, "student", number), self.how.student.recipe
        runtime.make_deterministic(seed)
        model = start.network(self.how.student, len(self.images.meta.classes))
        folder = resume.folder("distill", model, self._fit, number, self.fabric.device.type, *identity)
        data = self._data(model, seed)
        train = partial(loop.train, fabric=self.fabric, seed=seed, resume_folder=folder)
        return Training(model, folder, partial(train, model, objective(model, data), data, recipe))

    def train(
        self,
        model: Classifier,
        objective: MakeObjective,
        seed: int,
        *identity: object,
        after_step: Callable[[], None] | None = None,
    ) -> History:
        """Train any network in place as the student's recipe says: one that is no student from the start.

        Args:
            model: Its classes are those of the images.
            objective: Of a method or control.
            seed: Decides all that is random.
            identity: All else that decides how the training ends: params, the teacher's checksum.
            after_step: Is called after each change of the weights, as masks need it.

        Raises:
            UserError: If training diverges.
        """
        recipe, folder = (
            self.how.student.recipe,
            resume.folder("distill", model, self._fit, self.fabric.device.type, *identity),
        )
        model.to(self.fabric.device)
        data = self._data(model, seed)
        lesson = objective(model, data)
        return loop.train(
            model, lesson, data, recipe, fabric=self.fabric, seed=seed, resume_folder=folder, after_step=after_step
        )

    def _data(self, model: Classifier, seed: int) -> TrainingData:
        recipe, device = self.how.student.recipe, self.fabric.device
        return inputs.training_data(self.images, self.view, recipe, device=device, seed=seed, model=model)

    def _answers(self, digest: str) -> Path:
        """Where all students of a teacher find its answers."""
        images = files.sha256(self._fit / "train_images.npy")
        size, precision = self.how.student.recipe.batch_size, self.fabric.strategy.precision.precision
        parts = (self.view, size, precision, self.fabric.device.type, torch.__version__)
        return runtime.scratch("teacher", digest, images, *parts)
