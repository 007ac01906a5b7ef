"""Students from start to end: the same network, start, images and steps for every method, from each seed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from deepcompress import files, runtime
from deepcompress.data.batches import View
from deepcompress.data.store import open_fit
from deepcompress.distillation import teacher_cache
from deepcompress.distillation.loss import LossContext
from deepcompress.distillation.objective import DistillObjective, build_losses
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.params import DEVICE_BUDGET_MIB
from deepcompress.training import inputs, loop, resume, run
from deepcompress.training.loop import CrossEntropy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import pandas as pd
    from lightning_fabric import Fabric

    from deepcompress.distillation.settings import Distill
    from deepcompress.models.classifier import Classifier
    from deepcompress.training.inputs import TrainingData
    from deepcompress.training.loop import History, Objective

    MakeObjective = Callable[[Classifier, TrainingData], Objective]


@dataclass(frozen=True)
class StudentTraining:
    """A training that can be started or taken up.

    Attributes:
        model: As it starts.
        folder: Of this training alone, in scratch.
        run: Trains the model in place.
    """

    model: Classifier
    folder: Path
    run: Callable[[], History]


class StudentTrainer:
    """Trains students on the same images, as the `distill` section says.

    Args:
        config: The `distill` section.
        fit: Folder of training and validation images.
        fabric: Gives device and precision.
        seed: Of the pipeline.
        budget_mib: See `store.Arrays`.
    """

    def __init__(
        self, config: Distill, *, fit: Path, fabric: Fabric, seed: int, budget_mib: int = DEVICE_BUDGET_MIB
    ) -> None:
        self.config, self.fabric, self._fit, self._seed = config, fabric, fit, seed
        self.images = open_fit(fit, budget_mib)
        self.view = View(config.student.image_size, self.images.meta.mean, self.images.meta.std)

    def control_objective(self, control: str) -> MakeObjective:
        """Cross-entropy without a teacher.

        Raises:
            UserError: If there is no such control; lists those there are.
        """
        smoothing = self.config.control(control).label_smoothing
        return lambda model, data: CrossEntropy(smoothing)

    def teacher_objective(self, method: str, teacher_file: Path) -> MakeObjective:
        """The objective of a method with a teacher.

        Raises:
            UserError: If there is no such method, or the teacher cannot teach here.
        """
        cross_entropy, weighted = self.config.weighted(method)
        teacher = load_teacher(teacher_file, classes=self.images.meta.classes, view=self.view)
        recipe, digest = self.config.student.recipe, files.sha256(teacher_file)
        labels = torch.from_numpy(self.images.train.labels)

        def make(model: Classifier, data: TrainingData) -> Objective:
            losses = build_losses(weighted, LossContext(model, teacher, labels))
            return DistillObjective(
                losses,
                teacher_cache.cached_teacher(
                    teacher,
                    data.train,
                    list(dict.fromkeys(tap for _, loss in losses.values() for tap in loss.teacher_taps)),
                    logits=any(loss.reads_logits for _, loss in losses.values()),
                    fabric=self.fabric,
                    folder=self._teacher_folder(digest),
                    budget_mib=self.config.cache_budget_mib,
                ),
                cross_entropy=cross_entropy,
                label_smoothing=recipe.label_smoothing,
                steps_per_epoch=len(data.train),
            )

        return make

    def prepare(self, number: int, make_objective: MakeObjective, *cache_key: object) -> StudentTraining:
        """The training of a fresh student from one seed, ready to run.

        Args:
            number: The seed, as in `distill.seeds`.
            make_objective: Of a method or control.
            cache_key: All else that decides how the training ends: params, the teacher's checksum.
        """
        seed, recipe = runtime.derived_seed(self._seed, "student", number), self.config.student.recipe
        runtime.make_deterministic(seed)
        model = run.network(self.config.student, len(self.images.meta.classes))
        folder = resume.folder("distill", model, self._fit, number, self.fabric.device.type, *cache_key)
        data = self._data(model, seed)
        train = partial(loop.train, fabric=self.fabric, seed=seed, resume_folder=folder)
        return StudentTraining(model, folder, partial(train, model, make_objective(model, data), data, recipe))

    def train_from(
        self,
        model: Classifier,
        make_objective: MakeObjective,
        seed: int,
        *cache_key: object,
        after_step: Callable[[], None] | None = None,
    ) -> History:
        """Train a given network in place, as the student's recipe says.

        Args:
            model: Its classes are those of the images.
            make_objective: Of a method or control.
            seed: Decides all that is random.
            cache_key: All else that decides how the training ends: params, the teacher's checksum.
            after_step: Is called after each change of the weights, as masks need it.

        Raises:
            UserError: If training diverges.
        """
        folder = resume.folder("distill", model, self._fit, self.fabric.device.type, *cache_key)
        model.to(self.fabric.device)
        data = self._data(model, seed)
        train = partial(loop.train, fabric=self.fabric, seed=seed, resume_folder=folder, after_step=after_step)
        return train(model, make_objective(model, data), data, self.config.student.recipe)

    def _data(self, model: Classifier, seed: int) -> TrainingData:
        recipe, device = self.config.student.recipe, self.fabric.device
        return inputs.training_data(self.images, self.view, recipe, device=device, seed=seed)

    def _teacher_folder(self, digest: str) -> Path:
        """Where all students of a teacher find its outputs."""
        images = files.sha256(self._fit / "train_images.npy")
        size, precision = self.config.student.recipe.batch_size, self.fabric.strategy.precision.precision
        parts = (self.view, size, precision, self.fabric.device.type, torch.__version__)
        return runtime.scratch("teacher", digest, images, *parts)


def train_all(seeds: Iterable[int], prepare: Callable[[int], StudentTraining]) -> tuple[Classifier, dict[int, History]]:
    """Train one model per seed, in turn; a run that was killed does not repeat the trainings that had ended.

    Returns:
        The model of the first seed, and the history of each.
    """
    first: Classifier | None = None
    histories, folders = {}, []
    for seed in seeds:
        training = prepare(seed)
        histories[seed] = training.run()
        first = first or training.model
        folders.append(training.folder)
    for folder in folders:
        resume.clear(folder)
    if first is None:
        raise ValueError("there are no seeds")
    return first, histories


def seeds_table(histories: dict[int, History], *, keep: str, images: int) -> pd.DataFrame:
    """A row per seed: accuracy of the weights that were kept, with mean and standard deviation over seeds.

    Args:
        histories: By seed.
        keep: `last` or `best_validation`, as in the recipe.
        images: Validation images.
    """
    import pandas as pd

    percents = {seed: _kept_pct(history, keep) for seed, history in histories.items()}
    deviation = statistics.stdev(percents.values()) if len(percents) > 1 else None
    return pd.DataFrame({"seed": percents.keys(), "validation_top1_pct": percents.values()}).assign(
        mean_pct=round(statistics.fmean(percents.values()), 4),
        deviation_points=None if deviation is None else round(deviation, 4),
        n_seeds=len(percents),
        n_images=images,
    )


def _kept_pct(history: History, keep: str) -> float:
    epoch = history.best() if keep == "best_validation" else history.epochs[-1]
    return epoch.validation_top1_pct


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
    if loaded.classes != tuple(classes):
        raise UserError(f"{path}: {_other_classes(loaded.classes, tuple(classes))}")
    if loaded.view != view:
        raise UserError(f"{path}: the teacher sees images as {loaded.view}, the student as {view}; train it again")
    return loaded.model.requires_grad_(False).eval()


def _other_classes(teacher: tuple[str, ...], data: tuple[str, ...]) -> str:
    if len(teacher) != len(data):
        return f"the teacher tells {len(teacher)} classes apart, the training images have {len(data)}"
    index = next(i for i, (its, other) in enumerate(zip(teacher, data, strict=True)) if its != other)
    return f"the teacher's class {index} is {teacher[index]!r}, that of the training images is {data[index]!r}"
