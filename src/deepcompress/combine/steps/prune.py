"""Prune as `prune.method` and `prune.sparsity` say; train on by labels, unless a teacher comes next."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from deepcompress import files
from deepcompress.pruning import masks, prune, sensitivity
from deepcompress.training import run as training
from deepcompress.training.history import History
from deepcompress.training.objective import CrossEntropy

if TYPE_CHECKING:
    from deepcompress.combine.work import Room, Work

TAUGHT = "distill"


def run(work: Work, room: Room) -> Work:
    """The pruned model; what is zero in it stays zero in all steps to come.

    Raises:
        UserError: If the sparsity is out of reach, a layer unknown, or training diverges.
    """
    dense, how, seed = work.source.model.to(room.fabric.device), room.how.prune, int(room.origin["seed"])
    curves = sensitivity.curves(files.read_rows(room.curves))
    made = prune.prune(dense, room.data.images, how, view=room.data.view, seed=seed, curves=curves)
    after, history = made.after_step(), History()
    if work.next != TAUGHT:
        loss, recipe = CrossEntropy(how.finetune.label_smoothing), how.finetune
        history = training.run(
            made.trained, loss, room.data, recipe, fabric=room.fabric, origin=room.origin, after_step=after
        )
    source = dataclasses.replace(work.source, model=made.trained)
    return work.then(source, history, after_step=after, encodings=masks.encodings(made.trained))
