"""The loop: a plain torch loop's weights, the same bits twice, after an interruption and compiled, clear errors."""

import copy
import io
import logging
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepcompress import runtime
from deepcompress.data.batches import Batch
from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.training import loop
from deepcompress.training.loop import CrossEntropy, ModelWithLoss, Objective, can_compile
from deepcompress.training.recipe import Epoch, History
from tests.nets import same, state, vgg
from tests.training import several
from tests.training.conftest import Count, StoppedError, data, recipe


class Regressor(Objective):
    """Has a layer that trains along and a frozen teacher with batch statistics."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.teacher = nn.Linear(4, 4), teacher.requires_grad_(False)

    def forward(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        assert not any(module.training for module in self.teacher.modules())
        assert self.layer.training
        return F.mse_loss(self.layer(model(batch.images)), self.teacher(batch.images))


def test_a_history_has_a_row_per_epoch_a_best_one_and_comes_back():
    history = History([Epoch(number, 1.5, 0.1, pct, 1.25) for number, pct in enumerate((10.0, 30.0, 30.0, 20.0), 1)])
    assert history.best().epoch == 2, "the earliest of equals"
    assert [Epoch(**row) for row in history.rows()] == history.epochs
    names = ["epoch", "train_loss", "learning_rate", "validation_top1_pct", "validation_loss"]
    assert history.frame().iloc[1].to_dict() == dict(zip(names, (2, 1.5, 0.1, 30.0, 1.25), strict=True))
    assert list(History().frame().columns) == names


class Put(nn.Module):
    """An operation of which torch knows no way that gives the same bits twice, on a CPU either."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.clone().put_(torch.tensor([0]), torch.tensor([1.0]))


def test_an_operation_that_differs_from_run_to_run_ends_in_one_line(fabric):
    with pytest.raises(UserError, match=r"^put_ gives other bits at every run on cpu; put another layer in its place"):
        made = recipe(epochs=1)
        loop.train(nn.Sequential(vgg(), Put()), CrossEntropy(), data(made), made, fabric=fabric, seed=0)


def test_the_loop_does_what_a_plain_torch_loop_does(fabric):
    """On a linear network, whose loss is convex: last digits do not grow from step to step."""
    made = recipe(optimizer="sgd", learning_rate=0.01, schedule="constant", epochs=2, weight_decay=1e-3)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 32 * 32, 4))
    plain, losses = copy.deepcopy(model), []
    record = loop.train(model, CrossEntropy(), data(made), made, fabric=fabric, seed=3)
    assert not any(module.training for module in model.modules())
    rule = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3)
    for number in range(2):
        torch.manual_seed(runtime.derived_seed(3, "epoch", number))
        for batch in data(made).train.epoch(number):
            loss = F.cross_entropy(plain(batch.images), batch.labels)
            rule.zero_grad()
            loss.backward()
            rule.step()
            losses.append(loss.item())
    expected = [sum(losses[:4]) / 4, sum(losses[4:]) / 4]
    assert [row.train_loss for row in record.epochs] == pytest.approx(expected, rel=1e-4)
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("changes", "precision"),
    [
        ({"optimizer": "adam"}, "32-true"),
        ({"optimizer": "adamw", "keep": "best_validation", "average": 0.5}, "32-true"),
        ({"optimizer": "sgd", "keep": "best_validation"}, "32-true"),
        ({"trainable": "all"}, "bf16-mixed"),
        ({"trainable": "head"}, "bf16-mixed"),
    ],
)
def test_an_interrupted_run_ends_with_the_same_bits(run, tmp_path, changes, precision):
    augment = {"flip": True, "mixup": 0.2, "cutmix": 1.0, "erase": 0.25}
    made = recipe(augment=augment, learning_rate=0.01, **changes)
    fabric, place = runtime.start(runtime.Train(device="cpu", precision=precision), 0), tmp_path / "state"
    straight, record = run(made, fabric=fabric)
    with pytest.raises(StoppedError):
        run(made, fabric=fabric, resume_folder=place, after_step=Count(last=10))
    steps, none = Count(), Count()
    resumed, again = run(made, fabric=fabric, resume_folder=place, after_step=steps)
    assert steps.calls == 8
    assert same(straight, resumed)
    assert record == again
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in straight.values())
    run(made, fabric=fabric, resume_folder=place, after_step=none)
    assert none.calls == 0, "what has ended is not trained again"


def test_the_best_epoch_is_kept(run):
    made = recipe(learning_rate=0.05, optimizer="sgd", schedule="constant", keep="best_validation")
    weights, record = run(made)
    _, shorter = run(recipe(**{**made.model_dump(), "epochs": record.best().epoch}))
    short_weights, _ = run(recipe(**{**made.model_dump(), "epochs": record.best().epoch, "keep": "last"}))
    assert record.best().epoch < made.epochs, "the last epoch must not be the best one for this test to tell"
    assert record.epochs[: record.best().epoch] == shorter.epochs
    assert same(weights, short_weights)


@pytest.mark.parametrize("keep", ["last", "best_validation"])
def test_the_average_over_the_steps_is_measured_and_kept(fabric, keep):
    made = recipe(epochs=2, learning_rate=0.05, optimizer="sgd", schedule="constant", keep=keep, average=0.75)
    model, expected, ends = vgg(), {}, []

    def follow() -> None:
        now = {name: tensor.clone() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
        expected.update({name: 0.75 * expected.get(name, now[name]) + 0.25 * now[name] for name in now})
        ends.append({**now, **expected})

    record = loop.train(model, CrossEntropy(), data(made), made, fabric=fabric, seed=0, after_step=follow)
    kept = record.best().epoch if keep == "best_validation" else 2
    wanted = ends[kept * len(data(made).train) - 1]
    weights = model.state_dict()
    assert all(torch.allclose(weights[name], wanted[name], atol=1e-6) for name in wanted)
    logits, labels = accuracy.logits(model, data(made).validation)
    assert record.epochs[kept - 1].validation_loss == pytest.approx(accuracy.cross_entropy(logits, labels))


def test_of_indices_and_counts_no_average_is_taken(fabric):
    made, model = recipe(epochs=2, average=0.9), vgg()
    model.register_buffer("indices", torch.arange(100))
    loop.train(model, CrossEntropy(), data(made), made, fabric=fabric, seed=0)
    assert torch.equal(model.indices, torch.arange(100))
    assert model.features[1].num_batches_tracked == 2 * len(data(made).train)


def test_what_an_objective_owns_trains_along_but_a_teacher_does_not(run):
    objective = Regressor(vgg())
    before = state(objective)
    run(recipe(epochs=2), objective)
    after = objective.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("teacher"))
    assert not any(torch.equal(before[name], after[name]) for name in before if name.startswith("layer"))


def test_a_network_without_a_linear_layer_has_no_head_to_train(fabric):
    made = recipe(trainable="head")
    with pytest.raises(UserError, match="trains the last linear layer alone, and this network has none; it must be al"):
        loop.train(nn.Conv2d(3, 4, 32), CrossEntropy(), data(made), made, fabric=fabric, seed=0)


@pytest.mark.parametrize("loss", ["nan", "inf"])
def test_divergence_names_epoch_rate_and_key(run, loss):
    class Diverging(CrossEntropy):
        steps = 0

        def forward(self, model: nn.Module, batch: Batch) -> torch.Tensor:
            Diverging.steps += 1
            return super().forward(model, batch) * (float(loss) if Diverging.steps > 7 else 1.0)

    message = rf"diverged: the loss is {loss} in epoch 2 at a learning rate of 0\.25; lower learning_rate"
    with pytest.raises(UserError, match=message):
        run(recipe(schedule="constant", learning_rate=0.25), Diverging())


def test_progress_is_quiet_where_there_is_no_terminal(run, monkeypatch, caplog):
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    with caplog.at_level(logging.INFO):
        run(recipe(epochs=1))
    assert shown.getvalue() == ""
    assert "epoch 1 of 1: train loss" in caplog.text


# torch.compile

COMPILERS = ("c++", "g++", "clang++")


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("default")  # of torch's own compiler
def test_a_step_of_a_compiled_network_gives_the_same_weights_under_the_same_names() -> None:
    ends = []
    for compiles in (False, True):
        fabric = runtime.start(runtime.Train(device="cpu", precision="32-true", compile=compiles), 0)
        torch._dynamo.utils.counters.clear()
        model, history = several.labels(fabric, batch_size=several.IMAGES, epochs=1)
        assert (torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0) == compiles
        ends.append((model.state_dict(), history))
    (plain, plain_history), (compiled, compiled_history) = ends
    assert list(plain) == list(compiled)
    assert all(torch.allclose(plain[name], compiled[name], rtol=0, atol=1e-5) for name in plain)
    losses = [history.epochs[0].train_loss for history in (plain_history, compiled_history)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_names_of_weights_do_not_tell_of_compilation() -> None:
    model = several.network(0)
    states = [ModelWithLoss(model, CrossEntropy(), compiles=compiles).state_dict() for compiles in (False, True)]
    assert list(states[0]) == list(states[1])


def test_a_network_that_is_looked_into_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    model, reader = several.network(0), CrossEntropy()
    assert can_compile(model, reader)
    reader.needs_hooks = True
    assert not can_compile(model, reader)
    assert "because the objective reads layers inside it" in caplog.text
    torch.nn.utils.parametrize.register_parametrization(model.classifier[0], "weight", torch.nn.Identity())
    assert not can_compile(model, CrossEntropy())
    assert "because its weights are rounded in every step" in caplog.text


def test_without_a_compiler_the_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"params.yaml: train\.compile needs a C\+\+ compiler"):
        runtime.start(runtime.Train(device="cpu", precision="32-true", compile=True), 0)
