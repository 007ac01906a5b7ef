"""Teachers: frozen, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress.distillation import student
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from tests.distillation.conftest import VIEW, make_network

CLASSES = ("ant", "bee", "cat", "dog")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "vgg16.safetensors"
    checkpoint.save(file, make_network("vgg16"), view=VIEW, classes=CLASSES, provenance={})
    return file


def test_it_is_frozen_and_in_evaluation_mode(path: Path) -> None:
    network = student.load_teacher(path, classes=CLASSES, view=VIEW)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (CLASSES[:3], "the teacher tells 4 classes apart, the training images have 3"),
        (("ant", "bee", "cow", "dog"), "the teacher's class 2 is 'cat', that of the training images is 'cow'"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(path: Path, classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        student.load_teacher(path, classes=classes, view=VIEW)


def test_a_teacher_that_sees_other_pixels_is_refused(path: Path) -> None:
    other = type(VIEW)(64, VIEW.mean, VIEW.std)
    with pytest.raises(UserError, match=r"sees images as View\(size=32.*the student as View\(size=64"):
        student.load_teacher(path, classes=CLASSES, view=other)
