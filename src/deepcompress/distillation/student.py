"""Students from start to end: the same network, start, images and steps for every method, and what they minimise.

A teacher's outputs are each computed once, since without random augmentation an image gives the same in every epoch:
logits and features of all training images are stored in scratch, where every student of that teacher finds them. Above
a budget the teacher runs on each batch, and so it does with augmentation, where it sees what the student sees.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from deepcompress import files, params, runtime
from deepcompress.data.batches import Batch, Batches, Shard, View
from deepcompress.data.store import BYTES_PER_MIB
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
    """Looks outputs up by the row of the image in tables on their device: features by tap, logits by None."""

    def __init__(self, tables: dict[Tap | None, Tensor]) -> None:
        self.tables = tables

    def outputs(self, batch: Batch) -> Outputs:
        found: Any = {key: table[batch.indices] for key, table in self.tables.items()}
        return Outputs(found.pop(None, None), found)


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
        budget_mib: What the outputs of all images may take in memory [MiB]; above it the teacher runs in every epoch.
    """
    shapes: dict[Tap | None, tuple[int, ...]] = {
        key: shape(network, key.layer)[: 1 if key.pooled else None] for key in taps
    }
    if logits:
        shapes[None] = (network.spec.classes,)
    size = 4 * train.size * sum(map(math.prod, shapes.values()))
    if train.augment is not None or size > budget_mib * BYTES_PER_MIB:
        return OnlineTeacher(network, taps, logits=logits, fabric=fabric)
    names = {key: f"{key.layer}-{'pooled' if key.pooled else 'maps'}" if key else "logits" for key in shapes}
    paths = {key: folder / f"{name}.bin" for key, name in names.items()}
    found = runtime.from_first(
        lambda: {key: bytearray(kept) for key in paths if (kept := files.read_checked(paths[key])) is not None}
    )
    made = _answers([key for key in paths if key not in found], network, train, fabric)
    for key, rows in made.items() if runtime.is_first() else ():
        files.write_checked(paths[key], rows.numpy().tobytes())
    made |= {key: torch.frombuffer(content, dtype=torch.float32) for key, content in found.items()}
    return StoredTeacher({key: made[key].view(-1, *shapes[key]).to(train.device) for key in shapes})


def _answers(
    wanted: Sequence[Tap | None], network: Classifier, train: Batches, fabric: Fabric
) -> dict[Tap | None, Tensor]:
    """What the teacher gives for all images, from one run over them in the order of their rows."""
    if not wanted:
        return {}
    start = time.perf_counter()
    online = OnlineTeacher(network, [key for key in wanted if key], logits=None in wanted, fabric=fabric)
    ordered = Batches(train.arrays, train.view, batch_size=train.batch_size, device=train.device)
    bar = tqdm(ordered.epoch(0, Shard.own()), "teacher", len(ordered), disable=None if runtime.is_first() else True)
    parts: dict[Tap | None, list[Tensor]] = {key: [] for key in wanted}
    for outputs in map(online.outputs, bar):
        for key, rows in parts.items():
            rows.append((outputs.features[key] if key else outputs.require_logits()).float().cpu())
    log.info("teacher: %d images, %.1f s", train.size, time.perf_counter() - start)
    return {key: torch.cat(rows) for key, rows in parts.items()}
