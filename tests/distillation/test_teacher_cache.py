"""A teacher's outputs: stored ones equal fresh ones, students share them, and no more is run than must be."""

from __future__ import annotations

import pytest
import torch

from deepcompress.data.augment import Augment
from deepcompress.data.batches import Batches
from deepcompress.distillation import teacher_cache
from deepcompress.distillation.loss import Outputs, Tap
from deepcompress.distillation.teacher_cache import OnlineTeacher
from tests.distillation.conftest import VIEW

MAPS, POOLED = Tap("features.17"), Tap("features", pooled=True)


@pytest.fixture
def train(arrays) -> Batches:
    return Batches(arrays, VIEW, batch_size=10, seed=3)


@pytest.fixture
def make(teacher, train, fabric, tmp_path):
    """A teacher for some taps; keywords change the rest."""

    def build(*taps, logits=True, budget_mib=64, batches=train):
        return teacher_cache.cached_teacher(
            teacher, batches, taps, logits=logits, fabric=fabric, folder=tmp_path, budget_mib=budget_mib
        )

    return build


class Runs:
    """Counts how often each layer of a network runs."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.counts: dict[str, int] = {}
        for name, layer in network.named_modules():
            layer.register_forward_hook(lambda *_, name=name: self._count(name))

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1


def require_equal(some: Outputs, others: Outputs) -> None:
    torch.testing.assert_close(some.require_logits(), others.require_logits(), rtol=1e-5, atol=1e-6)
    for tap in (MAPS, POOLED):
        torch.testing.assert_close(some.features[tap], others.features[tap], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("budget_mib", [0, 64])
def test_stored_outputs_equal_fresh_ones_in_every_epoch(make, teacher, train, fabric, budget_mib) -> None:
    stored = make(MAPS, POOLED, budget_mib=budget_mib)
    online = OnlineTeacher(teacher, (MAPS, POOLED), logits=True, fabric=fabric)
    for number in (0, 1):
        for batch in train.epoch(number):
            require_equal(stored.outputs(batch), online.outputs(batch))


def test_the_teacher_runs_once_per_image_and_for_the_next_student_only_what_is_missing(
    make, teacher, train, tmp_path
) -> None:
    runs = Runs(teacher)
    first = make(MAPS)
    assert runs.counts["classifier.6"] == 3  # batches of 24 images by 10
    assert runs.counts["features.17"] == 3 + 1  # and a look at the shape of the maps
    for number in range(3):
        [first.outputs(batch) for batch in train.epoch(number)]
    make(POOLED)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["features-pooled", "features.17-maps", "logits"]
    assert runs.counts["features"] == 3 + 3  # the second student's layer
    assert runs.counts["classifier.6"] == 3


@pytest.mark.parametrize("name", ["logits", "features-pooled", "features.17-maps"])
def test_damaged_outputs_are_computed_again_and_no_others(make, train, tmp_path, caplog, name) -> None:
    batch = next(train.epoch())
    first = make(MAPS, POOLED).outputs(batch)
    path, times = tmp_path / f"{name}.npy", {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    path.write_bytes(path.read_bytes()[:-1])
    again = make(MAPS, POOLED).outputs(batch)
    assert f"{path} is damaged: the teacher runs again" in caplog.text
    assert [path for path, time in times.items() if path.stat().st_mtime_ns != time] == [path]
    require_equal(first, again)


def test_maps_above_the_budget_are_run_each_time_but_only_as_far_as_they_lie(make, teacher, train) -> None:
    made = make(MAPS, budget_mib=0)
    runs = Runs(teacher)
    made.outputs(next(train.epoch()))
    assert runs.counts["features.17"] == 1
    assert not runs.counts.keys() & {"features.18", "features", "classifier.6", ""}


def test_what_fits_is_stored_and_the_rest_is_not(teacher) -> None:
    size = 4 * 24 * 16 * 8 * 8  # float32 of 24 images: 16 channels of 8 x 8
    shallow, deep = Tap("features.15"), Tap("features.25")
    assert teacher_cache.taps_in_budget(teacher, [shallow, deep], 24, size) == [shallow]
    assert teacher_cache.taps_in_budget(teacher, [shallow, deep], 24, size - 1) == [deep]
    assert teacher_cache.taps_in_budget(teacher, [POOLED, shallow], 24, 0) == [POOLED]
    assert teacher_cache.taps_in_budget(teacher, [POOLED, shallow], 24, size) == [shallow, POOLED]


def test_outputs_above_the_budget_stay_in_their_files_maps_come_first(make, tmp_path) -> None:
    tables = make(MAPS, POOLED).tables
    paths = {MAPS: "features.17-maps", POOLED: "features-pooled", None: "logits"}
    paths = {key: tmp_path / f"{stem}.npy" for key, stem in paths.items()}
    assert list(tables) == list(paths)
    for budget, on_device in ((0, []), (tables[MAPS].nbytes, [MAPS]), (1 << 30, [MAPS, POOLED, None])):
        opened = teacher_cache.open_tables(paths, budget, torch.device("meta"))
        assert [key for key, table in opened.items() if table.device.type == "meta"] == on_device


def test_with_random_changes_the_teacher_sees_the_view_of_the_student(make, teacher, arrays) -> None:
    changed = Batches(arrays, VIEW, batch_size=10, seed=3, augment=Augment(flip=True, crop_padding=4))
    made = make(MAPS, batches=changed)
    assert isinstance(made, OnlineTeacher)
    for batch in changed.epoch(0):
        with torch.no_grad():
            torch.testing.assert_close(
                made.outputs(batch).require_logits(), teacher(batch.images), rtol=1e-5, atol=1e-6
            )


def test_outputs_carry_no_gradient(make, teacher, train) -> None:
    teacher.requires_grad_(True)
    for budget_mib in (0, 64):
        outputs = make(MAPS, budget_mib=budget_mib).outputs(next(train.epoch()))
        assert not outputs.require_logits().requires_grad
        assert not outputs.features[MAPS].requires_grad


def test_logits_that_nobody_wants_are_neither_kept_nor_given(make, train, tmp_path) -> None:
    assert make(POOLED, logits=False).outputs(next(train.epoch())).logits is None
    assert [path.name for path in tmp_path.iterdir()] == ["features-pooled.npy"]
