"""Learn from a teacher: the student of the `distill` section from the start, or the pruned model trained on.

A pruned model learns as long as `prune.finetune` says, so that it compares with the one that trained on without a
teacher; all its layers learn, because what a teacher says of features reaches no frozen ones.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING

from deepcompress import files, runtime
from deepcompress.distillation.course import Course
from deepcompress.pruning import masks
from deepcompress.training import start

if TYPE_CHECKING:
    from deepcompress.combine.work import Room, Work


def run(work: Work, room: Room) -> Work:
    """The taught model.

    Raises:
        UserError: If the teacher cannot teach here, or training diverges.
    """
    how, seed = room.how.distill, int(room.origin["seed"])
    recipe = room.how.prune.finetune.model_copy(update={"trainable": "all"}) if work.done else how.student.recipe
    student = how.student.model_copy(update={"recipe": recipe, "image_size": room.data.view.size})
    how, data = how.model_copy(update={"student": student}), room.data
    course = Course(how, fit=data.folder, fabric=room.fabric, seed=seed, budget_mib=data.budget_mib)
    objective = course.taught(room.how.combine.method, room.teacher)
    runtime.make_deterministic(runtime.derived_seed(seed, "student", how.seeds[0]))
    model = work.source.model if work.done else start.network(student, len(work.source.classes))
    identity = (room.origin, files.sha256(room.teacher))
    train = partial(course.train, model, objective, seed, *identity, after_step=work.after_step)
    history = room.once("distill", model, train, *identity)
    source = dataclasses.replace(work.source, model=model)
    return work.then(source, history, encodings=masks.encodings(model) if work.after_step else {})
