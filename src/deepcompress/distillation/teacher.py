"""Open a teacher for a student: frozen, in evaluation mode, and refused where it cannot teach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepcompress.errors import UserError
from deepcompress.models import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from deepcompress.data.batches import View
    from deepcompress.models.classifier import Classifier


def load(path: Path, *, classes: tuple[str, ...], view: View) -> Classifier:
    """The teacher of a file, on the CPU.

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
    at = next(i for i, (one, other) in enumerate(zip(teacher, data, strict=True)) if one != other)
    return f"the teacher's class {at} is {teacher[at]!r}, that of the training images is {data[at]!r}"
