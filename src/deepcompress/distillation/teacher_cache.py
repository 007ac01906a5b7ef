"""A teacher's outputs, each computed once: without random augmentation an image gives the same in every epoch.

Logits and pooled features of all training images are stored in scratch, where every student of that teacher
finds them; maps too while they fit a budget. Above it the teacher runs again for each batch, but only up to the
layer that is asked for, and logits and pooled features stay in their files, mapped. With augmentation the teacher
runs on each batch and sees what the student sees.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from deepcompress import files, runtime
from deepcompress.data.batches import Batches, Shard
from deepcompress.data.store import BYTES_PER_MIB, array_writer, is_whole_array, map_array
from deepcompress.distillation.loss import Outputs, Tap, read, shape
from deepcompress.models.vgg import outputs_of, tap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning_fabric import Fabric
    from torch import Tensor

    from deepcompress.data.batches import Batch
    from deepcompress.models.vgg import Classifier

log = logging.getLogger(__name__)
DTYPE = "<f4"


class Teacher(ABC):
    """Outputs for a batch; no part of the module tree, so that no state and no optimizer holds it."""

    @abstractmethod
    def outputs(self, batch: Batch) -> Outputs:
        """Of the teacher for these images, without gradients."""


class OnlineTeacher(Teacher):
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
    def outputs(self, batch: Batch) -> Outputs:
        layers, logits = {wanted.layer for wanted in self._taps}, None
        with self._fabric.autocast():
            if self._logits:
                with tap(self._network, layers) as layer_outputs:
                    logits = batch.whole(self._network(batch.images).float())
            else:
                layer_outputs = outputs_of(self._network, layers, batch.images)
        return Outputs(logits, read(layer_outputs, self._taps, batch))


class StoredTeacher(Teacher):
    """Looks outputs up by the row of the image.

    Args:
        tables: One row per training image, on the device of the batches or mapped from a file; features by tap,
            logits under None.
        online: Gives what is not stored, or None.
    """

    def __init__(self, tables: dict[Tap | None, Tensor], online: Teacher | None) -> None:
        self.tables, self._online = tables, online

    def outputs(self, batch: Batch) -> Outputs:
        indices = batch.indices
        stored = {key: table[indices.to(table.device)].to(indices.device) for key, table in self.tables.items()}
        computed = self._online.outputs(batch).features if self._online else {}
        return Outputs(stored.get(None), {**computed, **{tap_: rows for tap_, rows in stored.items() if tap_}})


def cached_teacher(
    network: Classifier,
    train: Batches,
    taps: Sequence[Tap],
    *,
    logits: bool,
    fabric: Fabric,
    folder: Path,
    budget_mib: int,
) -> Teacher:
    """The cheapest teacher that gives these outputs.

    Args:
        network: Frozen.
        train: The student's training images.
        taps: Layers to read.
        logits: Whether they are wanted.
        fabric: Gives device and precision.
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
            partial = open_files.enter_context(files.atomic(path))
            append[key] = open_files.enter_context(array_writer(partial, rows=train.size, dtype=DTYPE))
        for batch in ordered.epoch(0, Shard.own()):
            outputs = online.outputs(batch)
            for key, write in append.items():
                write((outputs.features[key] if key else outputs.require_logits()).float().cpu().numpy())
            bar.update()
    log.info("teacher: %d images, %.1f s", train.size, time.perf_counter() - start)
