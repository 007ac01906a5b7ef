"""Training as stages run it: its batches, features computed once, and what an interrupted one is taken up from."""

import logging
import os
import pickle
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from deepcompress import runtime
from deepcompress.data.store import open_fit, write_fit
from deepcompress.training import loop, run
from deepcompress.training.loop import CrossEntropy
from deepcompress.training.run import training_data
from tests.data import inputs
from tests.faults.damage import Trap
from tests.nets import VIEW, same, vgg
from tests.training.conftest import data, recipe

pytestmark = pytest.mark.usefixtures("project")
ORIGIN = {"stage": "prune", "seed": 5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_fit(tmp_path / "fit", inputs.source(train=24, test=3), validation_fraction=0.25, seed=0)
    return tmp_path / "fit"


def test_it_ends_as_the_loop_alone_does_and_leaves_no_scratch(folder, fabric):
    made, model, plain = recipe(epochs=2, batch_size=8), vgg(), vgg()
    with run.TrainingRun(folder, VIEW) as images:
        history = images.train(model, CrossEntropy(), made, fabric=fabric, provenance=ORIGIN)
    data = training_data(open_fit(folder), VIEW, made, device="cpu", seed=5)
    expected = loop.train(plain, CrossEntropy(), data, made, fabric=fabric, seed=5)
    assert history.epochs == expected.epochs
    assert same(model.state_dict(), plain.state_dict())
    assert not list(folder.parent.glob(".scratch/prune/*"))


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_a_training_that_ended_is_taken_over_until_the_stage_has_ended(folder, fabric, monkeypatch, trainable):
    trained, epoch_ = [], loop._Run.epoch_
    monkeypatch.setattr(loop._Run, "epoch_", lambda *args: trained.append(1) or epoch_(*args))

    def once(data):
        model = vgg()
        made = recipe(epochs=2, batch_size=8, trainable=trainable)
        return model, data.train(model, CrossEntropy(), made, fabric=fabric, provenance=ORIGIN)

    (one, history), (other, again) = once(run.TrainingRun(folder, VIEW)), once(data := run.TrainingRun(folder, VIEW))
    assert len(trained) == 2
    assert history.rows() == again.rows()
    assert same(one.state_dict(), other.state_dict())
    assert [p.requires_grad for p in one.parameters()] == [p.requires_grad for p in other.parameters()]
    with data:
        pass
    once(data)
    assert len(trained) == 4


def test_only_a_recipe_that_changes_images_augments():
    assert data(recipe()).train.augment is None
    changed = data(recipe(augment={"flip": True}))
    assert changed.train.augment.flip
    assert changed.validation.augment is None


@pytest.fixture
def trained(fabric):
    """Train the head; gives the weights, the history, and how many images the first layer saw."""

    def make(recipe, *, cached: bool, fabric=fabric):
        model, batches, passed = vgg(), data(recipe), []
        model.features[0].register_forward_pre_hook(lambda layer, given: passed.append(len(given[0])))
        part = (model, batches)
        if cached:
            part = run.trainable_part(model, batches, recipe, fabric=fabric)
        record = loop.train(part[0], CrossEntropy(), part[1], recipe, fabric=fabric, seed=0)
        return model.state_dict(), record, sum(passed)

    return make


@pytest.mark.parametrize("batch_size", [24, 21])  # an image that 21 leaves over is part of the batch before
def test_cached_features_give_the_weights_of_the_plain_loop(trained, batch_size):
    """Of a head on fixed features the loss is convex: last digits do not grow; Adam would divide by tiny gradients."""
    made = recipe(trainable="head", optimizer="sgd", feature_budget_mib=0, batch_size=batch_size)
    plain, plain_record, plain_images = trained(made, cached=False)
    ours, record, images = trained(made, cached=True)
    for name, expected in plain.items():
        torch.testing.assert_close(ours[name], expected, atol=1e-5, rtol=1e-4, msg=name)
    assert [row.train_loss for row in record.epochs] == pytest.approx(
        [row.train_loss for row in plain_record.epochs], rel=1e-4
    )
    assert plain_images == 4 * (64 + 15)
    assert images == 64 + 15


def test_mixed_precision_gives_the_weights_of_the_plain_loop_too(trained):
    fabric = runtime.start(runtime.Train(device="cpu", precision="bf16-mixed"), 0)
    made = recipe(trainable="head", optimizer="sgd", feature_budget_mib=0)
    name = "classifier.6.weight"
    plain, ours = (trained(made, cached=cached, fabric=fabric)[0][name] for cached in (False, True))
    moved = (plain - vgg().state_dict()[name]).abs().max()
    assert (ours - plain).abs().max() < 0.1 * moved  # bf16 keeps 8 bits of a feature


def test_memory_and_file_give_the_same_bits_the_budget_decides_and_no_file_stays(trained, tmp_path, caplog):
    ends = {}
    for budget, place in ((0, "in a file"), (1, "in memory")):
        with caplog.at_level(logging.INFO):
            ends[budget] = trained(recipe(trainable="head", feature_budget_mib=budget), cached=True)
        assert f"frozen layers: 64 images, 16 features each, 0.0 MiB {place}" in caplog.text
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    (one, record, _), (other, again, _) = ends.values()
    assert same(one, other)
    assert record == again


def test_a_frozen_weight_that_is_made_on_the_way_in_is_made_once_per_pass(fabric):
    class Doubled(nn.Module):
        made = 0

        def forward(self, weight):
            self.made += 1
            return 2 * weight

    model, doubled = vgg(), Doubled()
    register_parametrization(model.features[0], "weight", doubled)
    made = recipe(trainable="head", batch_size=24)
    before = doubled.made
    run.trainable_part(model, data(made), made, fabric=fabric)
    assert doubled.made == before + 2  # training and validation images


@pytest.mark.parametrize("change", [{"trainable": "all"}, {"trainable": "head", "augment": {"flip": True}}])
def test_nothing_is_stored_when_all_trains_or_images_change(fabric, change):
    made, model = recipe(**change), vgg()
    batches = data(made)
    found = run.trainable_part(model, batches, made, fabric=fabric)
    assert found == (model, batches)


def test_code_in_a_state_file_is_not_run(tmp_path):
    loop.save_state(tmp_path, {"weights": Trap(tmp_path / "sprung")})
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        loop.load_state(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_clearing_leaves_what_others_put_there(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    being_written = (
        f".{loop.STATE_FILE}.partial-{platform.node()}-{os.getppid()}-7"  # by a process that trains the same
    )
    for others in (["other"], [being_written], []):
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        place.mkdir()
        loop.save_state(place, {})
        (
            place / f".{loop.STATE_FILE}.partial-{platform.node()}-{ended.pid}-7"
        ).touch()  # what a kill in the middle of a write leaves
        for other in others:
            (place / other).touch()
        run.clear(place)
        assert place.exists() == bool(others)
        assert not others or [path.name for path in place.iterdir()] == others
    run.clear(place)


def test_the_folder_is_named_by_weights_data_and_params(tmp_path):
    data = tmp_path / "fit"
    data.mkdir()
    (data / "images").write_text("1")
    model = vgg()

    def name() -> str:
        return run.resume_folder("stage", model, data, 7).name

    names = [name(), name()]
    assert names[0] == names[1]
    with torch.no_grad():
        model.classifier[6].bias[0] += 1
    names.append(name())
    (data / "images").write_text("2")
    names += [name(), run.resume_folder("stage", model, data, 8).name]
    assert len(set(names)) == 4


def test_the_fingerprint_does_not_depend_on_the_memory_layout():
    model = vgg()
    before = run.fingerprint(model)
    assert run.fingerprint(model.to(memory_format=torch.channels_last)) == before
    assert run.fingerprint(vgg().bfloat16()) != before
