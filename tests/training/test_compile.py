"""A network that torch.compile takes trains as it does without, and keeps the names of its weights."""

from __future__ import annotations

import logging
import shutil

import pytest
import torch

from deepcompress import runtime
from deepcompress.errors import UserError
from deepcompress.training.loop import CrossEntropy, ModelWithLoss, can_compile
from tests.training import several

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
