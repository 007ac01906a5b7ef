"""The loop: a plain torch loop's weights, the same bits twice and after an interruption, clear errors."""

from __future__ import annotations

import io
import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepcompress import runtime
from deepcompress.data.batches import Batch
from deepcompress.errors import UserError
from deepcompress.training import loop, resume
from deepcompress.training.loop import CrossEntropy
from tests.training.interruption import Count, StoppedError, same


def test_the_loop_does_what_a_plain_torch_loop_does(run, recipe, network, data):
    made = recipe(optimizer="sgd", learning_rate=0.01, schedule="constant", epochs=2, weight_decay=1e-3)
    weights, record = run(made)
    plain, losses = network(), []
    rule = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3)
    for number in range(2):
        torch.manual_seed(runtime.derived_seed(3, "epoch", number))
        for batch in data(made).train.epoch(number):
            loss = F.cross_entropy(plain(batch.images), batch.labels)
            rule.zero_grad()
            loss.backward()
            rule.step()
            losses.append(loss.item())
    assert [row.train_loss for row in record.epochs] == pytest.approx(
        [sum(losses[:4]) / 4, sum(losses[4:]) / 4], rel=1e-4
    )
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(weights[name], expected, atol=1e-5, rtol=1e-4, msg=name)


def test_the_history_is_what_the_model_does(run, recipe, network, data):
    made = recipe(epochs=2, batch_size=24)
    weights, record = run(made)
    model = network()
    model.load_state_dict(weights)
    model.eval()
    validation = data(made).validation
    with torch.no_grad():
        logits = model(next(validation.epoch()).images)
    labels = torch.from_numpy(validation.arrays.labels)
    last = record.epochs[-1]
    assert [row.epoch for row in record.epochs] == [1, 2]
    assert last.validation_top1_pct == 100 * (logits.argmax(1) == labels).double().mean().item()
    assert last.validation_loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
    assert last.learning_rate == pytest.approx(1e-3 / 25e4)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(run, recipe, network, data, fabric):
    made = recipe(epochs=1, augment={"flip": True, "crop_padding": 2})
    (one, record), (other, again) = run(made), run(made)
    assert same(one, other)
    assert record == again
    model = network()
    loop.train(model, CrossEntropy(), data(made), made, fabric=fabric, seed=4)
    assert not same(one, model.state_dict())


@pytest.mark.parametrize("keep", ["last", "best_validation"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_an_interrupted_run_ends_with_the_same_bits(run, recipe, tmp_path, optimizer, keep):
    made = recipe(optimizer=optimizer, keep=keep, augment={"flip": True}, learning_rate=0.01)
    straight, record = run(made)
    with pytest.raises(StoppedError):
        run(made, resume_folder=tmp_path / "state", after_step=Count(last=10))
    steps = Count()
    resumed, again = run(made, resume_folder=tmp_path / "state", after_step=steps)
    assert steps.calls == 8
    assert same(straight, resumed)
    assert record == again
    run(made, resume_folder=tmp_path / "state", after_step=(none := Count()))
    assert none.calls == 0, "what has ended is not trained again"


def test_a_damaged_state_starts_over_with_the_same_end(run, recipe, tmp_path, caplog):
    made = recipe(epochs=2)
    with pytest.raises(StoppedError):
        run(made, resume_folder=tmp_path, after_step=Count(last=5))
    path = tmp_path / resume.STATE_FILE
    path.write_bytes(path.read_bytes()[:-100])
    steps = Count()
    with caplog.at_level(logging.WARNING):
        resumed, _ = run(made, resume_folder=tmp_path, after_step=steps)
    assert "training starts over" in caplog.text
    assert steps.calls == 8
    assert same(run(made)[0], resumed)


def test_the_best_epoch_is_kept(run, recipe, network, data):
    made = recipe(learning_rate=0.05, optimizer="sgd", schedule="constant", keep="best_validation")
    weights, record = run(made)
    _, shorter = run(recipe(**{**made.model_dump(), "epochs": record.best().epoch}))
    short_weights, _ = run(recipe(**{**made.model_dump(), "epochs": record.best().epoch, "keep": "last"}))
    assert record.best().epoch < made.epochs, "the last epoch must not be the best one for this test to tell"
    assert record.epochs[: record.best().epoch] == shorter.epochs
    assert same(weights, short_weights)


@pytest.mark.parametrize("loss", ["nan", "inf"])
def test_divergence_names_epoch_rate_and_key(run, recipe, loss):
    class Diverging(CrossEntropy):
        steps = 0

        def forward(self, model: nn.Module, batch: Batch) -> torch.Tensor:
            Diverging.steps += 1
            return super().forward(model, batch) * (float(loss) if Diverging.steps > 7 else 1.0)

    message = rf"diverged: the loss is {loss} in epoch 2 at a learning rate of 0\.25; lower learning_rate"
    with pytest.raises(UserError, match=message):
        run(recipe(schedule="constant", learning_rate=0.25), Diverging())


def test_a_rate_far_too_high_is_reported(run, recipe):
    with pytest.raises(UserError, match="lower learning_rate"):
        run(recipe(optimizer="sgd", learning_rate=1e30, schedule="constant"))


def test_progress_is_quiet_where_there_is_no_terminal(run, recipe, monkeypatch, caplog):
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    with caplog.at_level(logging.INFO):
        run(recipe(epochs=1))
    assert shown.getvalue() == ""
    assert "epoch 1 of 1: train loss" in caplog.text


def test_the_model_is_left_in_evaluation_mode(run, recipe, network, data, fabric):
    model, made = network(), recipe(epochs=1)
    loop.train(model, CrossEntropy(), data(made), made, fabric=fabric, seed=0)
    assert not any(module.training for module in model.modules())
