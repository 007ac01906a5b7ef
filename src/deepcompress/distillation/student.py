"""Students from start to end: the same network, start, images and steps for every method, and what they minimise.

A teacher's outputs are each computed once, since without random augmentation an image gives the same in every epoch.
Logits and pooled features of all training images are stored in scratch, where every student of that teacher
finds them; maps too while they fit a budget. Above it the teacher runs again for each batch, but only up to the
layer that is asked for, and logits and pooled features stay in their files, mapped. With augmentation the teacher
runs on each batch and sees what the student sees.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from deepcompress import files, params, runtime
from deepcompress.data.batches import Batch, Batches, Shard, View
from deepcompress.data.store import BYTES_PER_MIB, array_writer, is_whole_array, map_array
from deepcompress.distillation.loss import DistillBatch, Loss, LossContext, Outputs, Tap, compared, read, shape
from deepcompress.distillation.settings import LOSSES, Distill
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.models.vgg import Classifier, outputs_of, tap
from deepcompress.runtime import derived_seed
from deepcompress.training import run
from deepcompress.training.loop import CrossEntropy, Objective

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float
    from lightning_fabric import Fabric

    from deepcompress.training.recipe import History
    from deepcompress.training.run import TrainingData, TrainingRun

log = logging.getLogger(__name__)
DTYPE = "<f4"  # of stored outputs


def train(
    config: Distill,
    training: TrainingRun,
    method: str,
    teacher_file: Path | None,
    *,
    fabric: Fabric,
    provenance: dict[str, Any],
    model: Classifier | None = None,
    after_step: Callable[[], None] | None = None,
) -> tuple[Classifier, History]:
    """Train a student as the `distill` section says: a fresh network, or in place one that is given.

    Of several processes the first alone goes on from here, to write the results. An interrupted run is taken up only
    with the same file of the teacher.

    Args:
        config: The `distill` section.
        training: The images, and how a student sees them; clears what resuming needs once the stage has ended.
        method: A method or mixture; without a teacher a control.
        teacher_file: A checkpoint, or None.
        provenance: Of the result: its `stage`, the pipeline's `seed`, and all else that decides how training ends; the
            teacher's file is added.
        model: Its classes are those of the images; None: a fresh network.
        after_step: Is called after each change of the weights, as masks need it.

    Returns:
        The model, and what each epoch came to.

    Raises:
        UserError: If there is no such method, or its first stage takes all epochs, the teacher cannot teach here, or
            training diverges.
    """
    if teacher_file is not None:
        config.require_labels([method], "distill.student.recipe" if model is None else "prune.finetune")
    make_objective = _objective(config, training, method, teacher_file, fabric)
    identity = {**provenance, "teacher": files.sha256(teacher_file) if teacher_file else None}
    drawn = derived_seed(provenance["seed"], "student")
    runtime.make_deterministic(drawn)
    if model is None:
        model = run.network(config.student, len(training.images.meta.classes), "distill.student")
        identity["seed"] = drawn
    else:
        model.to(fabric.device)
    history = training.train(
        model,
        partial(make_objective, model),
        config.student.recipe,
        fabric=fabric,
        provenance=identity,
        after_step=after_step,
    )
    return model, history


def _objective(
    config: Distill, training: TrainingRun, method: str, teacher_file: Path | None, fabric: Fabric
) -> Callable[[Classifier, TrainingData], Objective]:
    if teacher_file is None:
        smoothing = config.label_smoothing(method)
        return lambda model, data: CrossEntropy(smoothing)
    recipe, (cross_entropy, weighted) = config.student.recipe, config.weighted(method)
    teacher = load_teacher(teacher_file, classes=training.images.meta.classes, view=training.view)
    labels = torch.from_numpy(training.images.train.labels)
    folder = outputs_folder(teacher_file, training, recipe.batch_size, fabric)

    def make(model: Classifier, data: TrainingData) -> Objective:
        losses = build_losses(weighted, LossContext(model, teacher, labels))
        outputs = cached_teacher(
            teacher,
            data.train,
            list(dict.fromkeys(wanted for _, loss in losses.values() for wanted in loss.teacher_taps)),
            logits=any(loss.reads_logits for _, loss in losses.values()),
            fabric=fabric,
            folder=folder,
            budget_mib=config.cache_budget_mib,
        )
        return DistillObjective(
            losses,
            outputs,
            cross_entropy=cross_entropy,
            label_smoothing=recipe.label_smoothing,
            steps_per_epoch=len(data.train),
        )

    return make


def outputs_folder(teacher_file: Path, training: TrainingRun, batch_size: int, fabric: Fabric) -> Path:
    """The scratch folder where all students of a teacher find its outputs, named by what decides about their bits."""
    images = files.sha256(training.folder / "train_images.npy")
    computed_by = (fabric.strategy.precision.precision, fabric.device.type, torch.__version__)
    shared_out = (torch.get_num_threads(), runtime.process_count())  # sums come in another order
    parts = (files.sha256(teacher_file), images, training.view, batch_size, *computed_by, *shared_out)
    return runtime.scratch("teacher", *parts)


class DistillObjective(Objective):
    """cross_entropy * CE(student, labels) + sum of weight * loss, in 32-bit floats.

    A loss with exclusive epochs (two-stage hints) is minimised alone in them, and left out after. The count of
    steps is part of the state, so that an interrupted run knows its epoch.
    """

    def __init__(
        self,
        losses: Mapping[str, tuple[float, Loss]],
        teacher: OnlineTeacher | StoredTeacher,
        *,
        cross_entropy: float,
        label_smoothing: float,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self._trained = nn.ModuleDict({name: loss for name, (_, loss) in losses.items()})  # part of the state
        self.losses = losses
        self.find_unused_parameters = any(loss.exclusive_epochs > 0 for _, loss in losses.values())
        self.needs_hooks = any(loss.student_taps for _, loss in losses.values())
        self.teacher, self.cross_entropy, self.label_smoothing = teacher, cross_entropy, label_smoothing
        self.steps, self.steps_per_epoch = 0, steps_per_epoch

    def forward(self, model: nn.Module, batch: Batch) -> Float[Tensor, ""]:
        epoch = self.steps // self.steps_per_epoch + 1
        self.steps += 1
        active = self.active(epoch)
        taps = [wanted for _, loss in active for wanted in loss.student_taps]
        with tap(model, {wanted.layer for wanted in taps}) as layers:
            logits = batch.whole(model(batch.images))
        teacher = self.teacher.outputs(batch) if active else Outputs(None)
        with torch.autocast(logits.device.type, enabled=False):
            student = Outputs(logits.float(), read(layers, taps, batch))
            distill_batch = DistillBatch(student, teacher, batch.labels, batch.indices, epoch)
            first = (self.steps - 1) % self.steps_per_epoch == 0  # of an epoch
            terms = [weight * compared(loss, distill_batch, probe=first) for weight, loss in active]
            if all(loss.exclusive_epochs == 0 for _, loss in active):
                labels = batch.cross_entropy(logits.float(), self.label_smoothing)
                terms.append(self.cross_entropy * labels)
            return torch.stack(terms).sum()

    def active(self, epoch: int) -> list[tuple[float, Loss]]:
        """The losses that count in an epoch, counted from 1, with their weights."""
        exclusive = [(weight, loss) for weight, loss in self.losses.values() if epoch <= loss.exclusive_epochs]
        return exclusive or [(weight, loss) for weight, loss in self.losses.values() if not loss.exclusive_epochs]

    def get_extra_state(self) -> dict[str, int]:
        """Of a state dict: the steps done."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take up the count of a state dict."""
        self.steps = state["steps"]


def build_losses(weighted: Mapping[str, tuple[float, Any]], context: LossContext) -> dict[str, tuple[float, Loss]]:
    """The losses of a method, each with its weight, from the weight and the options of each.

    A UserError if a loss or a layer does not exist, or a pair of layers cannot be matched.
    """
    return {
        name: (weight, params.plugin(LOSSES, name).build(options, context))
        for name, (weight, options) in weighted.items()
    }


def load_teacher(path: Path, *, classes: tuple[str, ...], view: View) -> Classifier:
    """The teacher of a checkpoint: frozen, in evaluation mode, on the CPU.

    Raises:
        UserError: If the file is damaged, or the teacher knows other classes than the student's or needs other pixels.
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


# A teacher's outputs for a batch, without gradients.


class OnlineTeacher:
    """Runs the network on every batch, no further than it must.

    No part of the module tree of an objective, so that no state and no optimizer holds it.

    Args:
        network: Frozen; is moved to Fabric's device and to channels_last memory.
        taps: Layers to read.
        logits: Whether they are wanted; without them the layers behind the last tap do not run.
    """

    def __init__(self, network: Classifier, taps: Sequence[Tap], *, logits: bool, fabric: Fabric) -> None:
        network.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network, self._taps, self._logits, self._fabric = network.eval(), tuple(taps), logits, fabric

    @torch.no_grad()
    def outputs(self, batch: Batch) -> Outputs:
        layers, logits = {wanted.layer for wanted in self._taps}, None
        with self._fabric.autocast():
            if self._logits:
                with tap(self._network, layers) as layer_outputs:
                    logits = batch.whole(self._network(batch.images).float())
            else:
                layer_outputs = outputs_of(self._network, layers, batch.images)
        return Outputs(logits, read(layer_outputs, self._taps, batch))


class StoredTeacher:
    """Looks outputs up by the row of the image.

    Args:
        tables: One row per training image, on the device of the batches or mapped from a file; features by tap,
            logits under None.
        online: Gives what is not stored, or None.
    """

    def __init__(self, tables: dict[Tap | None, Tensor], online: OnlineTeacher | None) -> None:
        self.tables, self._online = tables, online

    def outputs(self, batch: Batch) -> Outputs:
        indices = batch.indices
        stored: Any = {key: table[indices.to(table.device)].to(indices.device) for key, table in self.tables.items()}
        computed = self._online.outputs(batch).features if self._online else {}
        return Outputs(stored.pop(None, None), {**computed, **stored})


def cached_teacher(
    network: Classifier,
    train: Batches,
    taps: Sequence[Tap],
    *,
    logits: bool,
    fabric: Fabric,
    folder: Path,
    budget_mib: int,
) -> OnlineTeacher | StoredTeacher:
    """The cheapest teacher that gives these outputs of a frozen network for the student's training images.

    Args:
        folder: Of this teacher and these images alone; other students find the outputs there.
        budget_mib: What the outputs of all images may take in memory [MiB].
    """
    if train.augment is not None:
        return OnlineTeacher(network, taps, logits=logits, fabric=fabric)
    stored = taps_in_budget(network, taps, train.size, budget_mib * BYTES_PER_MIB)
    paths: dict[Tap | None, Path] = {
        key: folder / f"{key.layer}-{'pooled' if key.pooled else 'maps'}.npy" for key in stored
    }
    if logits:
        paths[None] = folder / "logits.npy"
    if missing := runtime.from_first(lambda: [key for key, path in paths.items() if not _is_kept(path, train)]):
        _write({key: paths[key] for key in missing}, network, train, fabric=fabric)
        runtime.wait()
    rest = [wanted for wanted in taps if wanted not in stored]
    online = OnlineTeacher(network, rest, logits=False, fabric=fabric) if rest else None
    return StoredTeacher(open_tables(paths, budget_mib * BYTES_PER_MIB, train.device), online)


def taps_in_budget(network: Classifier, taps: Sequence[Tap], images: int, budget_bytes: int) -> list[Tap]:
    """The taps to store: maps in the order given while they fit together, then all pooled ones."""
    stored = []
    for wanted in taps:
        size = 0 if wanted.pooled else 4 * images * int(np.prod(shape(network, wanted.layer)))
        if size <= budget_bytes:
            stored.append(wanted)
            budget_bytes -= size
    return sorted(stored, key=lambda wanted: wanted.pooled)


def open_tables(paths: dict[Tap | None, Path], budget_bytes: int, device: torch.device) -> dict[Tap | None, Tensor]:
    """Tables on the device while they fit together, the others mapped: see `StoredTeacher`."""
    tables: dict[Tap | None, Tensor] = {}
    for key, path in paths.items():
        table = torch.from_numpy(map_array(path, copy_on_write=True))
        fits = table.nbytes <= budget_bytes
        budget_bytes -= table.nbytes if fits else 0
        tables[key] = table.to(device) if fits else table
    return tables


def _is_kept(path: Path, train: Batches) -> bool:
    whole = is_whole_array(path, rows=train.size, dtype=DTYPE)
    if not whole and path.exists():
        log.warning("%s is damaged: the teacher runs again", path)
    return whole


def _write(paths: dict[Tap | None, Path], network: Classifier, train: Batches, *, fabric: Fabric) -> None:
    """One run over the images, without shuffling; the first process writes what all computed."""
    start, first = time.perf_counter(), runtime.is_first()
    online = OnlineTeacher(network, [key for key in paths if key], logits=None in paths, fabric=fabric)
    ordered = Batches(train.arrays, train.view, batch_size=train.batch_size, device=train.device)
    bar = tqdm(total=len(ordered), desc="teacher", unit="batch", disable=None if first else True)
    with ExitStack() as open_files, bar:
        append = {}
        for key, path in paths.items() if first else ():
            unfinished = open_files.enter_context(files.atomic(path))
            append[key] = open_files.enter_context(array_writer(unfinished, rows=train.size, dtype=DTYPE))
        for batch in ordered.epoch(0, Shard.own()):
            outputs = online.outputs(batch)
            for key, write in append.items():
                write((outputs.features[key] if key else outputs.require_logits()).float().cpu().numpy())
            bar.update()
    log.info("teacher: %d images, %.1f s", train.size, time.perf_counter() - start)
