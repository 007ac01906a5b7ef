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

from deepcompress import files, processes
from deepcompress.data.batches import Batches, Shard
from deepcompress.data.store import BYTES_PER_MIB, array_writer, is_whole_array, map_array
from deepcompress.distillation.loss import Outputs, Tap, read, shape, whole
from deepcompress.models.taps import tap
from deepcompress.models.vgg import VGG

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from lightning_fabric import Fabric
    from torch import Tensor

    from deepcompress.data.batches import Batch
    from deepcompress.models.classifier import Classifier

log = logging.getLogger(__name__)
LOGITS = "logits"
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
        layers = {one.layer for one in self._taps}
        with self._fabric.autocast(), tap(self._network, layers) as layer_outputs:
            if not self._logits:
                self._run_to(layers, batch.images)
                return Outputs(None, whole(read(layer_outputs, self._taps), batch))
            logits = batch.whole(self._network(batch.images).float())
        return Outputs(logits, whole(read(layer_outputs, self._taps), batch))

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


class StoredTeacher(Teacher):
    """Looks outputs up by the row of the image; `online` gives what is not stored.

    Args:
        logits: One row per training image, on the device of the batches or mapped from a file; None: no loss
            reads them.
        features: The same, by tap.
        online: For the other taps, or None.
    """

    def __init__(self, logits: Tensor | None, features: dict[Tap, Tensor], online: Teacher | None) -> None:
        self._logits, self._features, self._online = logits, features, online

    def outputs(self, batch: Batch) -> Outputs:
        computed = self._online.outputs(batch).features if self._online else {}
        stored = {tap_: _rows(table, batch.indices) for tap_, table in self._features.items()}
        logits = None if self._logits is None else _rows(self._logits, batch.indices)
        return Outputs(logits, {**computed, **stored})


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
    rest = [one for one in taps if one not in stored]
    paths = _files(network, train, stored, logits=logits, fabric=fabric, folder=folder)
    tables = _opened(paths, budget_mib * BYTES_PER_MIB, train.device)
    online = OnlineTeacher(network, rest, logits=False, fabric=fabric) if rest else None
    return StoredTeacher(tables.pop(None, None), {one: tables[one] for one in stored}, online)


def taps_in_budget(network: Classifier, taps: Iterable[Tap], images: int, budget_bytes: int) -> list[Tap]:
    """The taps to store: all pooled ones, and maps in the order given while they fit together."""
    stored = []
    for one in taps:
        size = 0 if one.pooled else 4 * images * int(np.prod(shape(network, one.layer)))
        if size <= budget_bytes:
            stored.append(one)
            budget_bytes -= size
    return stored


def _rows(table: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a table, on the device of their numbers."""
    return table.index_select(0, rows.to(table.device)).to(rows.device)


def _opened(paths: dict[Tap | None, Path], budget_bytes: int, device: torch.device) -> dict[Tap | None, Tensor]:
    """Tables on the device while they fit together, maps first as `taps_in_budget` counted them; the others mapped."""
    tables: dict[Tap | None, Tensor] = {}
    for one in sorted(paths, key=lambda one: one is None or one.pooled):
        table = torch.from_numpy(map_array(paths[one], copy_on_write=True))
        fits = table.nbytes <= budget_bytes
        budget_bytes -= table.nbytes if fits else 0
        tables[one] = table.to(device) if fits else table
    return tables


def _files(
    network: Classifier, train: Batches, taps: Sequence[Tap], *, logits: bool, fabric: Fabric, folder: Path
) -> dict[Tap | None, Path]:
    """Outputs of all images in stored order, there already or, where any are missing or damaged, after one pass."""
    wanted: list[Tap | None] = [*([None] if logits else []), *taps]
    paths = {one: folder / f"{_stem(one)}.npy" for one in wanted}
    if missing := processes.from_first(lambda: [one for one in wanted if not _is_kept(paths[one], train)]):
        _write({one: paths[one] for one in missing}, network, train, fabric=fabric)
        processes.wait()
    return paths


def _is_kept(path: Path, train: Batches) -> bool:
    whole = is_whole_array(path, rows=train.size, dtype=DTYPE)
    if not whole and path.exists():
        log.warning("%s is damaged: the teacher runs again", path)
    return whole


def _write(paths: dict[Tap | None, Path], network: Classifier, train: Batches, *, fabric: Fabric) -> None:
    """One run over the images, without shuffling; the first process writes what all computed."""
    start, taps = time.perf_counter(), [one for one in paths if one]
    online = OnlineTeacher(network, taps, logits=None in paths, fabric=fabric)
    ordered = Batches(train.arrays, train.view, batch_size=train.batch_size, device=train.device)
    disable = None if processes.is_first() else True
    with ExitStack() as open_files:
        append = {}
        for one, path in paths.items() if processes.is_first() else ():
            partial = open_files.enter_context(files.atomic(path))
            append[one] = open_files.enter_context(array_writer(partial, rows=train.size, dtype=DTYPE))
        for batch in tqdm(
            ordered.epoch(0, Shard.own()), total=len(ordered), desc="teacher", unit="batch", disable=disable
        ):
            outputs = online.outputs(batch)
            for one, write in append.items():
                write((outputs.require_logits() if one is None else outputs.features[one]).float().cpu().numpy())
    mib = sum(path.stat().st_size for path in paths.values()) / BYTES_PER_MIB if processes.is_first() else 0.0
    log.info("teacher: %d images, %.1f MiB of outputs, %.1f s", train.size, mib, time.perf_counter() - start)


def _stem(one: Tap | None) -> str:
    return LOGITS if one is None else one.layer + ("-pooled" if one.pooled else "-maps")
