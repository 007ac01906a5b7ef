"""Students: the weighted sum, the plain loop's weights, interruption; teachers: refused, their outputs stored once."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from deepcompress import params, runtime
from deepcompress.data.augment import Augment
from deepcompress.data.batches import Batches, View
from deepcompress.distillation.loss import LossContext, Outputs, Tap
from deepcompress.distillation.losses import crd, hint, logit
from deepcompress.distillation.student import (
    DistillObjective,
    OnlineTeacher,
    build_losses,
    cached_teacher,
    load_teacher,
    outputs_folder,
)
from deepcompress.errors import UserError
from deepcompress.models import checkpoint
from deepcompress.training import loop
from deepcompress.training.run import TrainingData, TrainingRun
from tests import nets
from tests.distillation.conftest import ARRAYS, make_network
from tests.nets import VIEW, same
from tests.training.conftest import Count, StoppedError, recipe

CLASSES = ("ant", "bee", "cat", "dog")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "vgg16.safetensors"
    checkpoint.save(file, make_network("vgg16"), view=VIEW, classes=CLASSES, provenance={})
    return file


def test_it_is_frozen_and_in_evaluation_mode(path: Path) -> None:
    network = load_teacher(path, classes=CLASSES, view=VIEW)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("classes", "view", "message"),
    [
        (CLASSES[:3], VIEW, "the teacher tells 4 classes apart, the training images have 3"),
        (("ant", "bee", "cow", "dog"), VIEW, "class 2 is 'cat', that of the training images is 'cow'"),
        (CLASSES, View(64, VIEW.mean, VIEW.std), r"sees images as View\(size=32.*the student as View\(size=64"),
    ],
)
def test_a_teacher_of_other_classes_or_pixels_is_refused(path: Path, classes, view, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_teacher(path, classes=classes, view=view)


METHODS = {
    "logit": logit.Options(weight=0.9, temperature=3.0),
    "hint": hint.Options(weight=0.5),
    "crd": crd.Options(weight=0.8, negatives=8, width=16),
}
TWO_STAGES = {**METHODS, "hint": hint.Options(stages=2, first_stage_epochs=3)}
EPOCHS = 3
RECIPE = recipe(
    epochs=EPOCHS, batch_size=10, optimizer="sgd", learning_rate=0.01, weight_decay=1e-3, schedule="constant"
)


@pytest.fixture
def data() -> TrainingData:
    return TrainingData(Batches(ARRAYS, VIEW, batch_size=10, seed=4), Batches(ARRAYS, VIEW, batch_size=24))


@pytest.fixture
def make(teacher, data, fabric, tmp_path):
    """A fresh student and its objective by the named losses."""

    def build(*names, online=False, options=METHODS, **weights):
        student = make_network()
        torch.manual_seed(9)
        weighted = {name: (METHODS[name].weight, options[name]) for name in names}
        losses = build_losses(weighted, LossContext(student, teacher, torch.from_numpy(data.train.arrays.labels)))
        taps = [tap for _, loss in losses.values() for tap in loss.teacher_taps]
        if online:
            outputs = OnlineTeacher(teacher, taps, logits=True, fabric=fabric)
        else:
            place = {"fabric": fabric, "folder": tmp_path, "budget_mib": 64}
            outputs = cached_teacher(teacher, data.train, taps, logits=True, **place)
        weights = {"cross_entropy": 0.1, "label_smoothing": 0.0, **weights}
        return student, DistillObjective(losses, outputs, steps_per_epoch=len(data.train), **weights)

    return build


@pytest.fixture
def train(data, fabric):
    """Train a student by its objective; keywords as for `loop.train`."""
    return lambda made, **options: loop.train(*made, data, RECIPE, fabric=fabric, seed=3, **options)


def test_the_value_is_the_weighted_sum(make, teacher, data) -> None:
    batch = next(data.train.epoch())
    student, objective = make("logit", "hint", cross_entropy=0.3, label_smoothing=0.2)
    logits, taught = student(batch.images), teacher(batch.images)
    labels = F.cross_entropy(logits, batch.labels, label_smoothing=0.2)
    kl = F.kl_div((logits / 3).log_softmax(1), (taught / 3).softmax(1), reduction="batchmean")
    student, alone = make("hint", cross_entropy=0.0)
    alone.losses["hint"][1].load_state_dict(objective.losses["hint"][1].state_dict())
    expected = 0.3 * labels + 0.9 * 9 * kl + alone(student, batch)
    torch.testing.assert_close(objective(student, batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_stored_outputs_train_the_student_that_the_plain_loop_trains(make, train, data, name) -> None:
    """The plain loop runs the teacher on every batch and steps a plain torch optimizer."""
    student, objective = make(name)
    train((student, objective))
    plain, online = make(name, online=True)
    trained = [*plain.parameters(), *online.parameters()]
    rule = torch.optim.SGD(trained, lr=0.01, momentum=0.9, weight_decay=1e-3)
    plain.train()
    for number in range(EPOCHS):
        torch.manual_seed(runtime.derived_seed(3, "epoch", number))
        for batch in data.train.epoch(number):
            rule.zero_grad()
            online(plain, batch).backward()
            rule.step()
    for key, expected in plain.state_dict().items():
        torch.testing.assert_close(student.state_dict()[key], expected, atol=1e-5, rtol=1e-3, msg=key)


@pytest.mark.parametrize("name", METHODS)
def test_an_interrupted_run_ends_with_the_same_bits(make, train, name, tmp_path) -> None:
    straight, resumed, folder = make(name), make(name), tmp_path / "state"
    train(straight)
    with pytest.raises(StoppedError):
        train(make(name), resume_folder=folder, after_step=Count(7))
    assert (folder / "state.pt").is_file()
    train(resumed, resume_folder=folder)
    assert resumed[1].steps == 3 * EPOCHS
    assert same(resumed[0].state_dict(), straight[0].state_dict())


def test_the_regressor_alone_trains_along_and_is_in_the_state(make, train, teacher) -> None:
    student, objective = make("hint", online=True)
    before = nets.state(teacher)
    regressor, names = objective.losses["hint"][1].regressor, set(student.state_dict())
    start = regressor.weight.detach().clone()
    train((student, objective))
    assert not torch.equal(regressor.weight, start)
    assert set(student.state_dict()) == names
    assert same(teacher.state_dict(), before)
    assert not teacher.training
    state = objective.state_dict().values()
    assert {tuple(tensor.shape) for tensor in state if isinstance(tensor, torch.Tensor)} == {(32, 16, 1, 1), (32,)}


def test_in_the_first_of_two_stages_only_the_guided_layers_learn(make, train) -> None:
    student, objective = make("hint", "logit", options=TWO_STAGES)
    before = nets.state(student)
    train((student, objective))
    changed = {key for key, tensor in student.state_dict().items() if not torch.equal(tensor, before[key])}
    assert {"features.0.weight", "features.15.weight"} <= changed
    assert not {key for key in changed if key.startswith("classifier") or key in ("features.18.weight",)}


def test_after_the_first_stage_the_hint_is_left_out(make) -> None:
    _, objective = make("hint", "logit", options=TWO_STAGES)
    names = {loss: name for name, (_, loss) in objective.losses.items()}
    assert [[names[loss] for _, loss in objective.active(epoch)] for epoch in (3, 4)] == [["hint"], ["logit"]]


def test_in_16_bits_the_losses_are_computed_in_32(make, data, monkeypatch) -> None:
    student, objective = make("crd")
    kinds = []

    def record(batch):
        (features,) = batch.student.features.values()
        kinds.append(features.dtype)
        return features.mean()

    monkeypatch.setattr(objective.losses["crd"][1], "forward", record)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert objective(student, next(data.train.epoch())).dtype == torch.float32
    assert kinds == [torch.float32]


BLOCKS = {"hint": {"guided_layer": "block4", "hint_layer": "block4"}, "at": {"layers": ["block3", "block4"]}}


@pytest.mark.parametrize(
    ("name", "student", "teacher"),
    [(name, "resnet18", "vgg16") for name in ("logit", "hint", "at", "sp", "crd")]
    + [("hint", "vgg11", "mobilenet_v2")],
)
def test_students_and_teachers_may_be_of_different_families(name: str, student: str, teacher: str, fabric) -> None:
    learner, taught = (make_network(net) if net.startswith("vgg") else nets.network(net) for net in (student, teacher))
    data, module = nets.batches(images=8, batch_size=8), params.plugin("distillation.losses", name)
    options = module.Options.model_validate_json(json.dumps(BLOCKS.get(name, {})))
    loss = module.build(options, LossContext(learner, taught.requires_grad_(False), torch.arange(8) % 4))
    outputs = OnlineTeacher(taught, loss.teacher_taps, logits=True, fabric=fabric)
    objective = DistillObjective(
        {name: (1.0, loss)}, outputs, cross_entropy=0.5, label_smoothing=0.0, steps_per_epoch=1
    )
    value = objective(learner.train(), next(data.epoch(0)))
    value.backward()
    assert value.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learner.parameters())


def test_outputs_without_logits_say_so() -> None:
    with pytest.raises(ValueError, match="reads logits"):
        Outputs(None).require_logits()


# A teacher's outputs.

MAPS, POOLED = Tap("features.17"), Tap("features", pooled=True)


@pytest.fixture
def images() -> Batches:
    return Batches(ARRAYS, VIEW, batch_size=10, seed=3)


@pytest.fixture
def taught(teacher, images, fabric, tmp_path):
    """A teacher for some taps; keywords change the rest."""

    def build(*taps, logits=True, budget_mib=64, batches=images):
        return cached_teacher(
            teacher, batches, taps, logits=logits, fabric=fabric, folder=tmp_path, budget_mib=budget_mib
        )

    return build


def runs_of(network: torch.nn.Module) -> Counter[str]:
    """How often each layer of a network runs from now on."""
    counts: Counter[str] = Counter()
    for name, layer in network.named_modules():
        layer.register_forward_hook(lambda *_, name=name: counts.update([name]))
    return counts


def require_equal(some: Outputs, others: Outputs) -> None:
    torch.testing.assert_close(some.require_logits(), others.require_logits(), rtol=1e-5, atol=1e-6)
    for tap in (MAPS, POOLED):
        torch.testing.assert_close(some.features[tap], others.features[tap], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("budget_mib", [0, 64])
def test_stored_outputs_equal_fresh_ones_in_every_epoch_and_carry_no_gradient(
    taught, teacher, images, fabric, budget_mib
) -> None:
    teacher.requires_grad_(True)
    stored = taught(MAPS, POOLED, budget_mib=budget_mib)
    online = OnlineTeacher(teacher, (MAPS, POOLED), logits=True, fabric=fabric)
    for number in (0, 1):
        for batch in images.epoch(number):
            outputs = stored.outputs(batch)
            require_equal(outputs, online.outputs(batch))
            assert not any(tensor.requires_grad for tensor in (outputs.require_logits(), *outputs.features.values()))


def test_the_teacher_runs_once_per_image_and_for_the_next_student_only_what_is_missing(
    taught, teacher, images, tmp_path
) -> None:
    runs = runs_of(teacher)
    first = taught(MAPS)
    assert runs["classifier.6"] == 3  # batches of 24 images by 10
    assert runs["features.17"] == 3
    for number in range(3):
        [first.outputs(batch) for batch in images.epoch(number)]
    taught(POOLED)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["features-pooled", "features.17-maps", "logits"]
    assert runs["features"] == 3 + 3  # the second student's layer
    assert runs["classifier.6"] == 3


@pytest.mark.parametrize("name", ["logits", "features-pooled", "features.17-maps"])
def test_damaged_outputs_are_computed_again_and_no_others(taught, images, tmp_path, caplog, name) -> None:
    batch = next(images.epoch())
    first = taught(MAPS, POOLED).outputs(batch)
    path, times = tmp_path / f"{name}.bin", {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    path.write_bytes(path.read_bytes()[:-1])
    again = taught(MAPS, POOLED).outputs(batch)
    assert f"{path} is damaged" in caplog.text
    assert [path for path, time in times.items() if path.stat().st_mtime_ns != time] == [path]
    require_equal(first, again)


def test_above_the_budget_the_teacher_runs_each_time(taught) -> None:
    assert isinstance(taught(MAPS, budget_mib=0), OnlineTeacher)


def test_outputs_are_shared_by_those_who_would_compute_the_same_bits(path, fabric, project, monkeypatch) -> None:
    """Another number of threads or of processes adds numbers in another order."""
    (project / "train_images.npy").write_bytes(b"pixels")

    def folder(batch_size: int = 10) -> Path:
        return outputs_folder(path, TrainingRun(project, VIEW), batch_size, fabric)

    folders = [folder(), folder(batch_size=11)]
    assert folder() == folders[0]
    for count in ("torch.get_num_threads", "deepcompress.runtime.process_count"):
        with monkeypatch.context() as other:
            other.setattr(count, lambda: 7)
            folders.append(folder())
    assert len(set(folders)) == 4


def test_with_random_changes_the_teacher_sees_the_view_of_the_student(taught, teacher) -> None:
    changed = Batches(ARRAYS, VIEW, batch_size=10, seed=3, augment=Augment(flip=True, crop_padding=4))
    made = taught(MAPS, batches=changed)
    assert isinstance(made, OnlineTeacher)
    for batch in changed.epoch(0):
        with torch.no_grad():
            torch.testing.assert_close(
                made.outputs(batch).require_logits(), teacher(batch.images), rtol=1e-5, atol=1e-6
            )


def test_logits_that_nobody_wants_are_neither_kept_nor_given(taught, images, tmp_path) -> None:
    assert taught(POOLED, logits=False).outputs(next(images.epoch())).logits is None
    assert [path.name for path in tmp_path.iterdir()] == ["features-pooled.bin"]
