"""A teacher's answers, each computed once: without random augmentation an image gives the same in every epoch.

Logits and pooled features of all training images are stored in scratch, where every student of that teacher
finds them; maps too while they fit a budget. Above it the teacher runs again for each batch, but only up to the
layer that is asked for. With augmentation the teacher runs on each batch and sees what the student sees.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from deepcompress import files
from deepcompress.data.batches import Batches
from deepcompress.data.writing import write_array
from deepcompress.distillation.loss import Answers, Tap, read, shape
from deepcompress.models.taps import tap
from deepcompress.models.vgg import VGG

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from jaxtyping import Float
    from lightning_fabric import Fabric
    from torch import Tensor

    from deepcompress.data.batches import Batch
    from deepcompress.models.classifier import Classifier

log = logging.getLogger(__name__)
BYTES_PER_MIB = 2**20
LOGITS = "logits"


class Teacher(ABC):
    """Answers for a batch; no part of the module tree, so that no state and no optimizer holds it."""

    @abstractmethod
    def answers(self, batch: Batch) -> Answers:
        """What the teacher says of these images, without gradients."""


class Live(Teacher):
    """Runs the network on every batch, no further than it must.

    Args:
        network: Frozen; is moved to Fabric's device and to channels_last memory.
        taps: Layers to read.
        logits: Whether they are wanted; without them the layers behind the last tap do not run.
        fabric: Gives device and precision.
    """

    def __init__(self, network: Classifier, taps: Sequence[Tap], *, logits: bool, fabric: Fabric) -> None:
        network.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network, self._taps, self._logits, self._fabric = network.eval(), tuple(taps), logits, fabric

    @torch.no_grad()
    def answers(self, batch: Batch) -> Answers:
        layers = {one.layer for one in self._taps}
        with self._fabric.autocast(), tap(self._network, layers) as seen:
            if not self._logits:
                self._run_to(layers, batch.images)
                return Answers(None, read(seen, self._taps))
            logits = self._network(batch.images).float()
        return Answers(logits, read(seen, self._taps))

    def _run_to(self, layers: set[str], images: Tensor) -> None:
        """Run the convolutional part up to the last of the layers; all of the network for one behind it."""
        network = self._network
        names = (
            [f"features.{name}" for name, _ in network.features.named_children()] if isinstance(network, VGG) else []
        )
        if not isinstance(network, VGG) or not layers <= {*names, "features"}:
            network(images)
        elif "features" in layers:
            network.features(images)
        else:
            for layer in network.features[: max(map(names.index, layers)) + 1]:
                images = layer(images)


class Stored(Teacher):
    """Looks answers up by the row of the image; `live` gives what is not stored.

    Args:
        logits: One row per training image, on the device of the batches; None: nobody asks for them.
        features: The same, by tap.
        live: For the other taps, or None.
    """

    def __init__(self, logits: Tensor | None, features: dict[Tap, Tensor], live: Teacher | None) -> None:
        self._logits, self._features, self._live = logits, features, live

    def answers(self, batch: Batch) -> Answers:
        rest = self._live.answers(batch).features if self._live else {}
        found = {one: table.index_select(0, batch.indices) for one, table in self._features.items()}
        logits = None if self._logits is None else self._logits.index_select(0, batch.indices)
        return Answers(logits, {**rest, **found})


def teacher(
    network: Classifier,
    train: Batches,
    taps: Sequence[Tap],
    *,
    logits: bool,
    fabric: Fabric,
    folder: Path,
    budget_mib: int,
) -> Teacher:
    """The cheapest teacher that gives these answers.

    Args:
        network: Frozen.
        train: The student's training images.
        taps: Layers to read.
        logits: Whether they are wanted.
        fabric: Gives device and precision.
        folder: Of this teacher and these images alone; other students find the answers there.
        budget_mib: What maps of all images may take [MiB].
    """
    if train.augment is not None:
        return Live(network, taps, logits=logits, fabric=fabric)
    stored = within(network, taps, train.size, budget_mib * BYTES_PER_MIB)
    rest = [one for one in taps if one not in stored]
    tables = _tables(network, train, stored, logits=logits, fabric=fabric, folder=folder)
    live = Live(network, rest, logits=False, fabric=fabric) if rest else None
    return Stored(tables.pop(None, None), {one: tables[one] for one in stored}, live)


def within(network: Classifier, taps: Iterable[Tap], images: int, budget_bytes: int) -> list[Tap]:
    """The taps to store: all pooled ones, and maps in the order given while they fit together."""
    stored = []
    for one in taps:
        size = 0 if one.pooled else 4 * images * int(np.prod(shape(network, one.layer)))
        if size <= budget_bytes:
            stored.append(one)
            budget_bytes -= size
    return stored


def _tables(
    network: Classifier, train: Batches, taps: Sequence[Tap], *, logits: bool, fabric: Fabric, folder: Path
) -> dict[Tap | None, Tensor]:
    """Answers to all images in stored order, from the folder or, where it lacks any, from one pass."""
    wanted: list[Tap | None] = [*([None] if logits else []), *taps]
    paths = {one: folder / f"{_stem(one)}.npy" for one in wanted}
    if missing := [one for one in wanted if not paths[one].is_file()]:
        found = _pass(network, train, [one for one in missing if one], logits=None in missing, fabric=fabric)
        for one in missing:
            with files.atomic(paths[one]) as partial:
                write_array(partial, [found[one].numpy()], shape=tuple(found[one].shape), dtype="<f4")
    return {one: torch.from_numpy(np.load(path)).to(train.device) for one, path in paths.items()}


def _pass(
    network: Classifier, train: Batches, taps: list[Tap], *, logits: bool, fabric: Fabric
) -> dict[Tap | None, Float[Tensor, "images ..."]]:
    """One run over the images, without shuffling; results on the CPU."""
    start, live = time.perf_counter(), Live(network, taps, logits=logits, fabric=fabric)
    ordered = Batches(train.arrays, train.view, batch_size=train.batch_size, device=train.device)
    found: dict[Tap | None, Tensor] = {}
    for batch in tqdm(ordered.epoch(), total=len(ordered), desc="teacher", unit="batch", disable=None):
        answers, rows = live.answers(batch), batch.indices.cpu()
        given: dict[Tap | None, Tensor] = {one: answers.features[one] for one in taps}
        if logits:
            given[None] = answers.said()
        for one, chunk in given.items():
            found.setdefault(one, torch.empty(train.size, *chunk.shape[1:]))[rows] = chunk.cpu()
    mib = sum(table.nbytes for table in found.values()) / BYTES_PER_MIB
    log.info("teacher: %d images, %.1f MiB of answers, %.1f s", train.size, mib, time.perf_counter() - start)
    return found


def _stem(one: Tap | None) -> str:
    return LOGITS if one is None else one.layer + ("-pooled" if one.pooled else "-maps")
