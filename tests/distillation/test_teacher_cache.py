"""A teacher's answers: stored ones equal fresh ones, students share them, and no more is run than must be."""

from __future__ import annotations

import pytest
import torch

from deepcompress.data.augment import Augment
from deepcompress.data.batches import Batches
from deepcompress.distillation import teacher_cache
from deepcompress.distillation.loss import Tap
from deepcompress.distillation.teacher_cache import OnlineTeacher, StoredTeacher
from tests.distillation.conftest import VIEW

MAPS, POOLED = Tap("features.17"), Tap("features", pooled=True)
EARLY = Tap("features.3")

WAYS = {  # to damage a .npy file
    "empty": lambda content: b"",
    "no header": lambda content: content[:9],
    "cut off": lambda content: content[:-1],
    "longer": lambda content: content + bytes(4),
    "another type": lambda content: content.replace(b"<f4", b"<i4", 1),
    "fewer rows": lambda content: content.replace(b"(24, ", b"(23, ", 1),
    "no file of numpy": lambda content: b"PK\x03\x04" + content[4:],
    "zeros": lambda content: bytes(len(content)),
}


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


@pytest.mark.parametrize("budget_mib", [0, 64])
def test_stored_answers_equal_fresh_ones_in_every_epoch(make, teacher, train, fabric, budget_mib) -> None:
    stored, live = (
        make(MAPS, POOLED, budget_mib=budget_mib),
        OnlineTeacher(teacher, (MAPS, POOLED), logits=True, fabric=fabric),
    )
    for number in (0, 1):
        for batch in train.epoch(number):
            one, other = stored.outputs(batch), live.outputs(batch)
            torch.testing.assert_close(one.require_logits(), other.require_logits(), rtol=1e-5, atol=1e-6)
            for tap in (MAPS, POOLED):
                torch.testing.assert_close(one.features[tap], other.features[tap], rtol=1e-5, atol=1e-6)


def test_the_teacher_runs_once_per_image_and_not_again_for_the_next_student(make, teacher, train) -> None:
    runs = Runs(teacher)
    first = make(MAPS, POOLED)
    assert runs.counts["classifier.6"] == 3 + 1  # batches of 24 images by 10, and a look at the shape of the maps
    for number in range(3):
        [first.outputs(batch) for batch in train.epoch(number)]
    make(POOLED)
    assert runs.counts["classifier.6"] == 3 + 1


@pytest.mark.parametrize("damage", [*WAYS])
@pytest.mark.parametrize("name", ["logits", "features-pooled", "features.17-maps"])
def test_damaged_answers_are_computed_again_and_no_others(make, teacher, train, tmp_path, caplog, damage, name) -> None:
    first = [make(MAPS, POOLED).outputs(batch) for batch in train.epoch(0)]
    paths = {path.stem: path for path in tmp_path.iterdir()}
    before = {stem: path.read_bytes() for stem, path in paths.items()}
    times = {stem: path.stat().st_mtime_ns for stem, path in paths.items()}
    paths[name].write_bytes(WAYS[damage](before[name]))
    again = [make(MAPS, POOLED).outputs(batch) for batch in train.epoch(0)]
    assert f"{paths[name]} is damaged: the teacher runs again" in caplog.text
    assert {stem for stem, path in paths.items() if path.stat().st_mtime_ns != times[stem]} == {name}
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one.require_logits(), other.require_logits())
        for tap in (MAPS, POOLED):
            torch.testing.assert_close(one.features[tap], other.features[tap])


def test_another_student_s_layer_is_added_to_what_is_there(make, teacher, tmp_path) -> None:
    make()
    assert [path.name for path in tmp_path.iterdir()] == ["logits.npy"]
    runs = Runs(teacher)
    make(POOLED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features-pooled.npy", "logits.npy"]
    assert "classifier.6" not in runs.counts


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


def test_answers_above_the_budget_stay_in_their_files_maps_come_first(make, train, tmp_path) -> None:
    made = make(MAPS, POOLED)
    size = made._features[MAPS].nbytes
    paths = {one: tmp_path / f"{teacher_cache._stem(one)}.npy" for one in (None, POOLED, MAPS)}
    for budget, on_device in ((0, []), (size, [MAPS]), (1 << 30, [MAPS, None, POOLED])):
        tables = teacher_cache._opened(paths, budget, torch.device("meta"))
        assert [one for one, table in tables.items() if table.device.type == "meta"] == on_device
    batch = next(train.epoch())
    above, below = (make(POOLED, budget_mib=mib).outputs(batch) for mib in (0, 64))
    assert torch.equal(above.require_logits(), below.require_logits())
    assert torch.equal(above.features[POOLED], below.features[POOLED])


def test_with_random_changes_the_teacher_sees_the_view_of_the_student(make, teacher, arrays) -> None:
    changed = Batches(arrays, VIEW, batch_size=10, seed=3, augment=Augment(flip=True, crop_padding=4))
    made = make(MAPS, batches=changed)
    assert isinstance(made, OnlineTeacher)
    for batch in changed.epoch(0):
        with torch.no_grad():
            torch.testing.assert_close(
                made.outputs(batch).require_logits(), teacher(batch.images), rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize(("tap", "ran"), [(Tap("features"), "features"), (Tap("classifier.0"), "classifier.0")])
def test_taps_behind_single_layers_are_reached_too(teacher, fabric, train, tap, ran) -> None:
    runs = Runs(teacher)
    found = OnlineTeacher(teacher, [tap], logits=False, fabric=fabric).outputs(next(train.epoch()))
    assert len(found.features[tap]) == 10
    assert runs.counts[ran] == 1
    assert found.logits is None


def test_answers_carry_no_gradient(make, teacher, train) -> None:
    teacher.requires_grad_(True)
    for made in (make(MAPS), make(MAPS, budget_mib=0)):
        found = made.outputs(next(train.epoch()))
        assert not found.require_logits().requires_grad
        assert not found.features[MAPS].requires_grad


def test_logits_that_nobody_wants_are_neither_kept_nor_given(make, train, tmp_path) -> None:
    made = make(POOLED, logits=False)
    assert isinstance(made, StoredTeacher)
    with pytest.raises(ValueError, match="reads logits but says that it does not"):
        made.outputs(next(train.epoch())).require_logits()
    assert [path.name for path in tmp_path.iterdir()] == ["features-pooled.npy"]
