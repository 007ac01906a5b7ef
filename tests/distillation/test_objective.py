"""The objective of students: the weighted sum, the plain loop's weights, and the state of an interrupted run."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from deepcompress import runtime
from deepcompress.data.batches import Batches
from deepcompress.distillation import teacher_cache
from deepcompress.distillation.loss import LossContext, Outputs
from deepcompress.distillation.losses import crd, hint, logit
from deepcompress.distillation.objective import DistillObjective, build_losses
from deepcompress.errors import UserError
from deepcompress.training import loop
from deepcompress.training.inputs import TrainingData
from deepcompress.training.recipe import Recipe
from tests.distillation.conftest import VIEW
from tests.training.interruption import Count, StoppedError, same

METHODS = {
    "logit": logit.Options(weight=0.9, temperature=3.0),
    "hint": hint.Options(weight=0.5),
    "crd": crd.Options(weight=0.8, negatives=8, width=16),
}


@pytest.fixture
def data(arrays) -> TrainingData:
    return TrainingData(Batches(arrays, VIEW, batch_size=10, seed=4), Batches(arrays, VIEW, batch_size=24))


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        trainable="all",
        epochs=3,
        batch_size=10,
        optimizer="sgd",
        learning_rate=0.01,
        weight_decay=1e-3,
        schedule="constant",
    )


@pytest.fixture
def make(network, teacher, data, fabric, tmp_path):
    """A fresh student and its objective by the named losses."""

    def build(*names, live=False, options=None, budget_mib=64, **weights):
        student = network()
        torch.manual_seed(9)
        weighted = {name: (METHODS[name].weight, (options or METHODS)[name]) for name in names}
        losses = build_losses(weighted, LossContext(student, teacher, torch.from_numpy(data.train.arrays.labels)))
        taps = [tap for _, loss in losses.values() for tap in loss.teacher_taps]
        source = teacher_cache.OnlineTeacher(teacher, taps, logits=True, fabric=fabric)
        if not live:
            source = teacher_cache.cached_teacher(
                teacher, data.train, taps, logits=True, fabric=fabric, folder=tmp_path, budget_mib=budget_mib
            )
        weights = {"cross_entropy": 0.1, "label_smoothing": 0.0, **weights}
        return student, DistillObjective(losses, source, steps_per_epoch=len(data.train), **weights)

    return build


def test_the_value_is_the_weighted_sum(make, teacher, data) -> None:
    student, objective = make("logit", cross_entropy=0.3, label_smoothing=0.2)
    batch = next(data.train.epoch())
    logits, taught = student(batch.images), teacher(batch.images)
    labels = F.cross_entropy(logits, batch.labels, label_smoothing=0.2)
    kl = F.kl_div((logits / 3).log_softmax(1), (taught / 3).softmax(1), reduction="batchmean")
    torch.testing.assert_close(objective(student, batch), 0.3 * labels + 0.9 * 9 * kl, rtol=1e-4, atol=1e-5)


def test_losses_are_added_up(make, data) -> None:
    batch = next(data.train.epoch())
    values = []
    for names in (("logit",), ("hint",), ("logit", "hint")):
        student, objective = make(*names, cross_entropy=0.0)
        objective.losses.get("hint", (0, None))[1] and torch.nn.init.ones_(objective.losses["hint"][1].regressor.weight)
        values.append(objective(student, batch).item())
    assert values[0] + values[1] == pytest.approx(values[2], rel=1e-5)


@pytest.fixture
def step_once(data, recipe, fabric):
    """One step of the loop; after several, last digits may have grown through ReLU and batch norm."""

    def step(student, objective) -> None:
        with pytest.raises(StoppedError):
            loop.train(student, objective, data, recipe, fabric=fabric, seed=3, after_step=Count(1))

    return step


@pytest.mark.parametrize("name", METHODS)
def test_a_step_by_stored_answers_is_that_of_the_plain_loop(make, data, step_once, name) -> None:
    """The plain loop runs the teacher on its batch and steps a plain torch optimizer."""
    student, objective = make(name)
    step_once(student, objective)
    plain, same_losses = make(name, live=True)
    rule = torch.optim.SGD(
        [*plain.parameters(), *same_losses.losses[name][1].parameters()], lr=0.01, momentum=0.9, weight_decay=1e-3
    )
    plain.train()
    torch.manual_seed(runtime.derived_seed(3, "epoch", 0))
    same_losses(plain, next(data.train.epoch(0))).backward()
    rule.step()
    for key, expected in plain.state_dict().items():
        torch.testing.assert_close(student.state_dict()[key], expected, atol=1e-5, rtol=1e-3, msg=key)


@pytest.mark.parametrize("name", METHODS)
def test_a_tiny_budget_trains_the_same_student(make, data, recipe, fabric, step_once, name) -> None:
    """Bit by bit from files; maps are computed again, in batches of other images."""
    students = []
    for budget_mib in (64, 0):
        student, objective = make(name, budget_mib=budget_mib)
        if name == "hint":
            step_once(student, objective)
        else:
            loop.train(student, objective, data, recipe, fabric=fabric, seed=3)
        students.append(student.state_dict())
    ample, tiny = students
    assert name == "hint" or same(ample, tiny)
    for key, expected in ample.items():
        torch.testing.assert_close(tiny[key], expected, atol=1e-5, rtol=1e-3, msg=key)


@pytest.mark.parametrize("name", METHODS)
def test_an_interrupted_run_ends_with_the_same_bits(make, data, recipe, fabric, name, tmp_path) -> None:
    straight, objective = make(name)
    loop.train(straight, objective, data, recipe, fabric=fabric, seed=3)
    folder = tmp_path / "state"
    student, objective = make(name)
    with pytest.raises(StoppedError):
        loop.train(student, objective, data, recipe, fabric=fabric, seed=3, resume_folder=folder, after_step=Count(7))
    assert (folder / "state.pt").is_file()
    student, objective = make(name)
    loop.train(student, objective, data, recipe, fabric=fabric, seed=3, resume_folder=folder)
    assert objective.steps == 3 * 3
    assert same(student.state_dict(), straight.state_dict())


def test_the_teacher_is_neither_trained_nor_in_the_state(make, data, recipe, fabric, teacher) -> None:
    student, objective = make("hint", live=True)
    before = {key: tensor.clone() for key, tensor in teacher.state_dict().items()}
    loop.train(student, objective, data, recipe, fabric=fabric, seed=3)
    assert same(teacher.state_dict(), before)
    assert not teacher.training
    sizes = {tuple(tensor.shape) for tensor in objective.state_dict().values() if isinstance(tensor, torch.Tensor)}
    assert sizes == {(32, 16, 1, 1), (32,)}  # the regressor alone


def test_the_regressor_trains_and_is_no_part_of_the_student(make, data, recipe, fabric) -> None:
    student, objective = make("hint")
    before, names = objective.losses["hint"][1].regressor.weight.detach().clone(), set(student.state_dict())
    loop.train(student, objective, data, recipe, fabric=fabric, seed=3)
    assert not torch.equal(objective.losses["hint"][1].regressor.weight, before)
    assert set(student.state_dict()) == names


def test_in_the_first_of_two_stages_only_the_guided_layers_learn(make, data, recipe, fabric) -> None:
    options = {**METHODS, "hint": hint.Options(stages=2, first_stage_epochs=3)}
    student, objective = make("hint", "logit", options=options)
    before = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    loop.train(student, objective, data, recipe, fabric=fabric, seed=3)
    changed = {key for key, tensor in student.state_dict().items() if not torch.equal(tensor, before[key])}
    assert {"features.0.weight", "features.15.weight"} <= changed
    assert not {key for key in changed if key.startswith("classifier") or key in ("features.18.weight",)}


def test_after_the_first_stage_the_hint_is_left_out(make) -> None:
    options = {**METHODS, "hint": hint.Options(stages=2, first_stage_epochs=2)}
    _, objective = make("hint", "logit", options=options)
    names = {id(loss): name for name, (_, loss) in objective.losses.items()}
    chosen = [[names[id(loss)] for _, loss in objective.active(epoch)] for epoch in (1, 2, 3)]
    assert chosen == [["hint"], ["hint"], ["logit"]]


def test_in_16_bits_the_losses_are_computed_in_32(make, data, monkeypatch) -> None:
    student, objective = make("crd")
    kinds = []
    monkeypatch.setattr(
        objective.losses["crd"][1],
        "forward",
        lambda lesson: (
            kinds.append(lesson.student.features[next(iter(lesson.student.features))].dtype) or torch.zeros(())
        ),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = objective(student, next(data.train.epoch()))
    assert kinds == [torch.float32]
    assert value.dtype == torch.float32


def test_an_unknown_loss_lists_what_there_is(student, teacher) -> None:
    with pytest.raises(UserError, match=r"distillation.losses must be one of .*crd.*dkd.*; got 'kd'"):
        build_losses({"kd": (1.0, None)}, LossContext(student, teacher, torch.arange(4)))


def test_answers_without_logits_say_so() -> None:
    with pytest.raises(ValueError, match="reads logits"):
        Outputs(None).require_logits()
