"""Models at work: over a set of images, with a pass only where file, images or code changed; and in turn, timed.

A pass leaves its logits in scratch, under a name made of the model file, the image files and the measuring code:
a second run, or one with a single new model, reads what the others left.

Times are taken in turn: a round calls each task once, in an order of its own. One long run of A and then one of B
measures what the machine was doing meanwhile; in turn, both see the same machine. The median and the quartiles are not
moved by a few calls that were interrupted.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from deepcompress import files, params, runtime
from deepcompress.data.batches import Batches
from deepcompress.errors import UserError
from deepcompress.measure import accuracy, cost
from deepcompress.models import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int
    from torch import Tensor

    from deepcompress.data.store import Arrays

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Task = Callable[[], object]
MOST_PIXELS = 256 * 64**2
MS_PER_SECOND = 1e3
WARM_UP = 3
ROUNDS = 20


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images that models are measured on."""

    name: str  # what messages call them, such as `held-out data`
    arrays: Arrays  # pixels and labels
    classes: tuple[str, ...]  # names; labels index them
    digest: str  # of their files, as `digest` makes it

    @property
    def labels(self) -> Int[Tensor, " images"]:
        """Right class of each image."""
        return torch.from_numpy(np.array(self.arrays.labels))


@dataclass(frozen=True)
class Measurement:
    """What one pass over the images and one look at the model yield."""

    logits: Float[Tensor, "images classes"]  # in the order of the images
    parameters: int  # all of them, biases and batch norms included
    nonzero_weights: int  # of convolutions and linear layers, those that are not zero
    macs: int  # multiply-accumulates for one image
    size_bytes: int  # of the file on disk


def measure(path: Path, images: Images, *, batch_size: int, device: torch.device) -> Measurement:
    """Load one model file and run it over the images, in 32-bit floats.

    Raises:
        UserError: If the file is damaged, or its classes are not those of the data.
    """
    loaded = checkpoint.load(path)
    if tuple(loaded.classes) != tuple(images.classes):
        raise UserError(f"{path}: {_other_classes(loaded.classes, images)}")
    model = loaded.model.to(device).to(memory_format=torch.channels_last)
    batches = Batches(images.arrays, loaded.view, batch_size=batch_size, device=device)
    counts = cost.parameters(model)
    return Measurement(
        logits=accuracy.logits(model, batches)[0],
        parameters=counts["total"],
        nonzero_weights=counts["nonzero"],
        macs=cost.macs(model),
        size_bytes=path.stat().st_size,
    )


def measured(
    paths: Iterable[Path], images: Images, stage: str, *, batch_size: int, device: torch.device
) -> Iterator[Measurement]:
    """What `measure` says of each, from the stage's scratch where an equal file met equal images and equal code."""

    def run(path: Path) -> dict[str, np.ndarray]:
        made = vars(measure(path, images, batch_size=batch_size, device=device))
        return {name: np.asarray(value) for name, value in made.items()}

    kept = [(scratch(stage, path, images.digest, batch_size, device.type), path) for path in paths]
    calls = [partial(files.kept_arrays, folder / "measurement.npz", partial(run, path)) for folder, path in kept]
    pixels = batch_size * checkpoint.load(kept[0][1]).view.size ** 2 if kept else 0
    return map(_measurement, on_all_cores(calls, device, pixels))  # forks now, before a progress bar has its thread


def _measurement(found: Mapping[str, np.ndarray]) -> Measurement:
    counts = {name: int(value) for name, value in found.items() if name != "logits"}
    return Measurement(logits=torch.from_numpy(found["logits"]), **counts)


def on_all_cores(calls: Sequence[Callable[[], T]], device: torch.device, pixels: int) -> Iterator[T]:
    """What each call returns, as `runtime.on_cores`; in this process where a GPU or the memory would have to be shared.

    Args:
        calls: Each runs a model.
        device: Where models run.
        pixels: Of a batch; what a network makes of MOST_PIXELS takes some half a GiB.
    """
    shared = device.type != "cpu" or pixels > MOST_PIXELS
    return runtime.on_cores(calls, None if shared else torch.get_num_threads())


def scratch(stage: str, path: Path, *parts: object) -> Path:
    """The folder of what a stage found out about one model file; `parts`: on what else that depends.

    Raises:
        UserError: If there is no such file.
    """
    files.require_file(path)
    for name in params.plugins("models.encodings"):  # part of the code that the folder is named by
        params.plugin("models.encodings", name)
    return runtime.scratch(stage, files.sha256(path), *parts, torch.__version__)


def digest(paths: Iterable[Path]) -> str:
    """Names and checksums of files."""
    return " ".join(f"{path.name}:{files.sha256(path)}" for path in sorted(paths) if path.is_file())


def _other_classes(ours: tuple[str, ...], images: Images) -> str:
    theirs, name = images.classes, images.name
    if len(ours) != len(theirs):
        return f"the model tells {len(ours)} classes apart, the {name} has {len(theirs)}"
    at = next(i for i, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
    return f"the model's class {at} is {ours[at]!r}, the {name}'s is {theirs[at]!r}"


def interleaved(
    tasks: Mapping[K, Task],
    *,
    warm_up: int = WARM_UP,
    rounds: int = ROUNDS,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[K, Float[np.ndarray, " rounds"]]:
    """Time every task once per round.

    Args:
        tasks: Name -> what to call; it ends when its work is done.
        warm_up: Rounds before those that count, for caches and memory.
        rounds: Rounds that count, at least 1.
        seed: Decides the order within each round, so that no task always follows the same other one.
        clock: Seconds from any start.

    Returns:
        Under the same names, in the order of `tasks`: what each call took [ms].
    """
    if rounds < 1 or warm_up < 0:
        raise ValueError(f"rounds must be at least 1 and warm_up at least 0, got {rounds} and {warm_up}")
    order, draw = list(tasks), random.Random(seed)
    taken: dict[K, list[float]] = {name: [] for name in tasks}
    for count in range(warm_up + rounds):
        draw.shuffle(order)
        for name in order:
            start = clock()
            tasks[name]()
            end = clock()
            if count >= warm_up:
                taken[name].append(MS_PER_SECOND * (end - start))
    return {name: np.array(times) for name, times in taken.items()}
