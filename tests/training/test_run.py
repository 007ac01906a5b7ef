"""A whole training from a folder of images, as stages run it, and the network that it starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepcompress import runtime
from deepcompress.data.store import open_fit, write_fit
from deepcompress.errors import UserError
from deepcompress.training import loop, run
from deepcompress.training.inputs import training_data
from deepcompress.training.loop import CrossEntropy
from tests.data import inputs
from tests.training.conftest import VIEW

ORIGIN = {"stage": "prune", "seed": 5}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    write_fit(tmp_path / "fit", inputs.source(train=24, test=3), validation_fraction=0.25, seed=0)
    return tmp_path / "fit"


def test_it_ends_as_the_loop_alone_does_and_leaves_no_scratch(folder, network, recipe, fabric):
    made, model, plain = recipe(epochs=2, batch_size=8), network(), network()
    with run.TrainingRun(folder, VIEW) as images:
        history = images.train(model, CrossEntropy(), made, fabric=fabric, provenance=ORIGIN)
    data = training_data(open_fit(folder), VIEW, made, device="cpu", seed=5)
    expected = loop.train(plain, CrossEntropy(), data, made, fabric=fabric, seed=5)
    assert history.epochs == expected.epochs
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    assert not list(folder.parent.glob("scratch/prune/*"))


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_a_training_that_ended_is_taken_over_until_the_stage_has_ended(
    folder, network, recipe, fabric, monkeypatch, trainable
):
    trained, epoch_ = [], loop._Run.epoch_
    monkeypatch.setattr(loop._Run, "epoch_", lambda *args: trained.append(1) or epoch_(*args))

    def once(data):
        model = network()
        made = recipe(epochs=2, batch_size=8, trainable=trainable)
        return model, data.train(model, CrossEntropy(), made, fabric=fabric, provenance=ORIGIN)

    (one, history), (other, again) = once(run.TrainingRun(folder, VIEW)), once(data := run.TrainingRun(folder, VIEW))
    assert len(trained) == 2
    assert history.rows() == again.rows()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert [p.requires_grad for p in one.parameters()] == [p.requires_grad for p in other.parameters()]
    with data:
        pass
    once(data)
    assert len(trained) == 4


def test_images_are_read_once_and_a_missing_file_is_named(folder):
    data = run.TrainingRun(folder, VIEW)
    assert data.images is data.images
    (folder / "train_labels.npy").unlink()
    with pytest.raises(UserError, match=r"train_labels\.npy: no such file"):
        run.TrainingRun(folder, VIEW).images  # noqa: B018
