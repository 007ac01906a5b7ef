"""What several seeds came to, and teachers: frozen, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress.distillation import student
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.training.loop import Epoch, History
from tests.distillation.conftest import VIEW, make_network

CLASSES = ("ant", "bee", "cat", "dog")


def history(*percents: float) -> History:
    return History([Epoch(number, 0.5, 0.1, percent, 0.4) for number, percent in enumerate(percents, 1)])


def test_mean_and_deviation_by_hand() -> None:
    table = student.seeds_table({0: history(60.0), 1: history(62.0), 2: history(64.0)}, keep="last", images=500)
    assert table["validation_top1_pct"].tolist() == [60.0, 62.0, 64.0]
    assert set(table["mean_pct"]) == {62.0}
    assert set(table["deviation_points"]) == {2.0}
    assert table[["n_seeds", "n_images"]].drop_duplicates().to_numpy().tolist() == [[3, 500]]


def test_the_accuracy_is_that_of_the_weights_that_were_kept_and_one_seed_has_no_deviation() -> None:
    for keep, percent in (("best_validation", 70.0), ("last", 40.0)):
        table = student.seeds_table({0: history(70.0, 40.0)}, keep=keep, images=5)
        assert table["validation_top1_pct"].tolist() == [percent]
        assert table["deviation_points"].isna().all()


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
