"""Training as a stage runs it: the network it starts from, its images, frozen layers computed once, resuming.

Where the head alone trains, the frozen layers run in evaluation mode, so that neither dropout nor batch statistics
change and an image gives the same features in every epoch. They are computed once per image, not once per epoch, and
the head is trained on them by the same loop, with weights that equal those of the plain way. Random augmentation makes
every epoch's images new ones: then nothing is stored.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.parametrize import cached
from tqdm import tqdm

from deepcompress import files, params, runtime
from deepcompress.data.augment import Augment
from deepcompress.data.batches import Batches, Shard, View
from deepcompress.data.store import BYTES_PER_MIB, Fit, collected, open_fit, read_meta
from deepcompress.measure.accuracy import evaluating
from deepcompress.models.build import build
from deepcompress.models.checkpoint import provenance
from deepcompress.models.spec import Model, asked
from deepcompress.models.vgg import input_of
from deepcompress.models.weights import load_pretrained_
from deepcompress.params import DEVICE_BUDGET_MIB, PARAMS_FILE
from deepcompress.training import loop
from deepcompress.training.loop import STATE_FILE, Objective, head

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float
    from lightning_fabric import Fabric
    from torch import Tensor, nn

    from deepcompress.models.vgg import Classifier
    from deepcompress.training.recipe import History, Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """What one stage trains on; as a context manager it clears what resuming needs, once the stage has ended well."""

    folder: Path  # where the images lie; an interrupted run is taken up only on the same files
    view: View  # how they become the model's input
    budget_mib: int = DEVICE_BUDGET_MIB  # see `store.Arrays`
    resume_folders: list[Path] = field(default_factory=list, compare=False)  # of the trainings so far

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
                clear(folder)

    @cached_property
    def images(self) -> Fit:
        """Training and validation images, mapped; a UserError if a file is missing or damaged."""
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
        """Train a model in place as its recipe says; see `loop.train` for what becomes of it and what it raises.

        Of several processes the first alone goes on from here, to write the results. What kills the stage before it
        has ended does not repeat the epochs that were done.

        Args:
            model: As training starts from it.
            objective: What to minimise; or what makes it of the batches: it may look at all of the model, so that no
                layer's output is computed ahead.
            provenance: Of the result: its `stage` and `seed`, and all else that decides how training ends.
            after_step: Is called after each change of the weights.
        """
        seed = int(provenance["seed"])
        folder = resume_folder(str(provenance["stage"]), model, self.folder, provenance, fabric.device.type)
        self.resume_folders.append(folder)
        data, part = training_data(self.images, self.view, recipe, device=fabric.device, seed=seed), model
        if isinstance(objective, loop.Objective):
            part, data = trainable_part(model, data, recipe, fabric=fabric)
        else:
            objective = objective(data)
        history = loop.train(
            part, objective, data, recipe, fabric=fabric, seed=seed, resume_folder=folder, after_step=after_step
        )
        runtime.first_only()
        return history


def start(
    stage: str, used: dict[str, Any], path: str | Path = PARAMS_FILE, *, alone: bool = False, trains: bool = True
) -> tuple[Fabric, dict[str, Any]]:
    """A Fabric as the section `train` says, see `runtime.start`, and the provenance of what a stage makes.

    `used` is what decides about it besides that section and the seed; `alone`: in one process.
    """
    seed, train = params.seed(path), params.section(runtime.Train, "train", path)
    train = train.alone() if alone else train
    made = provenance(stage, seed=seed, params={"train": train.model_dump(), **used})
    return runtime.start(train, seed, trains=trains), made


def network(model: Model, classes: int, key: str) -> Classifier:
    """The network of a section on the CPU; what is not pretrained is drawn from torch's global generator.

    A UserError names the section's key in params.yaml if the weights cannot be had, or do not fit.
    """
    network = build(asked(model, classes))
    if model.weights is not None:
        load_pretrained_(network, model.weights, key)
    return network


# What training sees.


@dataclass(frozen=True)
class TrainingData:
    """Batches on the device that trains."""

    train: Batches  # shuffled anew in each epoch, augmented if the recipe says so
    validation: Batches  # in the stored order, unchanged


def training_data(fit: Fit, view: View, recipe: Recipe, *, device: torch.device | str, seed: int) -> TrainingData:
    """The stored images as a recipe wants them, in batches on a device; the seed decides order and random changes."""
    return TrainingData(
        train=Batches(
            fit.train,
            view,
            batch_size=recipe.batch_size,
            device=device,
            seed=runtime.derived_seed(seed, "training images"),
            augment=None if recipe.augment == Augment() else recipe.augment,
            least=min(2, recipe.batch_size),  # batch norm may not learn from a single image
        ),
        validation=Batches(fit.validation, view, batch_size=recipe.batch_size, device=device),
    )


def trainable_part(
    model: nn.Module, data: TrainingData, recipe: Recipe, *, fabric: Fabric
) -> tuple[nn.Module, TrainingData]:
    """What the loop has to run in each epoch, and its input: the head, the model's own, and the features that it sees.

    With `trainable: all`, or with random augmentation, model and images come back as they are. Else the model is moved
    to Fabric's device; features above the recipe's budget lie in a nameless file in scratch while this process runs.
    """
    if recipe.trainable == "all" or data.train.augment is not None:
        return model, data
    model.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = (
        FeatureBatches(_features(model, batches, fabric, recipe.feature_budget_mib), batches)
        for batches in (data.train, data.validation)
    )
    return head(model), TrainingData(*seen)


class FeatureBatches(Batches):
    """The Batches of the same images, but with features in place of pixels.

    Args:
        features: Row i belongs to image i; on the device or, when mapped from a file, on the CPU.
        source: The images, unchanged.
    """

    def __init__(self, features: Float[Tensor, "images features"], source: Batches) -> None:
        vars(self).update(vars(source))
        self.features = features

    def _gather(self, rows: Tensor, on_device: Tensor) -> Float[Tensor, "batch features"]:
        return self.features.index_select(0, rows.to(self.features.device)).to(self.device)

    def _prepare(self, images: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        return images


def _features(model: nn.Module, batches: Batches, fabric: Fabric, budget_mib: int) -> Float[Tensor, "images features"]:
    """What the head of a model gets for every image, in stored order: on the device, or above the budget mapped."""
    start = time.perf_counter()
    ordered = Batches(batches.arrays, batches.view, batch_size=batches.batch_size, device=batches.device)
    epoch, disable = ordered.epoch(0, Shard.own()), None if runtime.is_first() else True
    bar = tqdm(epoch, total=len(ordered), desc="frozen layers", unit="batch", disable=disable)
    with evaluating(model), torch.no_grad(), fabric.autocast(), cached():
        chunks = (batch.whole(input_of(model, head(model), batch.images)) for batch in bar)
        first = next(chunks)
        size = first.shape[1]
        # As bytes, since numpy has no bfloat16.
        pieces = (part.cpu().contiguous().view(torch.uint8).numpy() for part in itertools.chain([first], chunks))
        rows = collected(pieces, (batches.size, size * first.itemsize), budget_mib, "features")
    features = torch.from_numpy(rows).view(first.dtype)
    in_memory = features.nbytes <= budget_mib * BYTES_PER_MIB
    took, mib = time.perf_counter() - start, features.nbytes / BYTES_PER_MIB
    place = "in memory" if in_memory else "in a file"
    log.info("frozen layers: %d images, %d features each, %.1f MiB %s, %.1f s", batches.size, size, mib, place, took)
    return features.to(batches.device) if in_memory else features


# Where an interrupted training is taken up.


def resume_folder(stage: str, model: nn.Module, data: Path, *parts: object) -> Path:
    """The scratch folder of one training, named by all that decides how it ends.

    That is the DVC stage, the weights that training starts from, the content of the files in `data`, and the parts:
    params, seed, device.
    """
    contents = [f"{path.name}:{files.sha256(path)}" for path in sorted(data.iterdir()) if path.is_file()]
    return runtime.scratch(stage, fingerprint(model), *contents, torch.__version__, *parts)


def fingerprint(model: nn.Module) -> str:
    """Checksum over names, types, shapes and values of a model's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def clear(place: Path) -> None:
    """In the first process: remove the state of a training that has ended, and its folder if it is empty.

    What another process, which trains the same beside this one, is about to write stays.
    """
    if not runtime.is_first():
        return
    files.remove_orphans(place / STATE_FILE)
    (place / STATE_FILE).unlink(missing_ok=True)
    with suppress(OSError):
        place.rmdir()
