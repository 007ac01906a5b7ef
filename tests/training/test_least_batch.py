"""Where batch norm sees single pixels no training batch is a single image; all other batches stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from deepcompress import runtime
from deepcompress.data.store import write_fit
from deepcompress.errors import UserError
from deepcompress.training import run
from deepcompress.training.least_batch import least_batch
from deepcompress.training.objective import CrossEntropy
from tests import nets
from tests.data import inputs
from tests.training.conftest import VIEW


@pytest.fixture(scope="module")
def resnet() -> Any:
    return nets.network("resnet18")


def sizes(batches: Any) -> list[int]:
    return [len(batch.labels) for batch in batches.epoch(0)]


@pytest.mark.parametrize(
    ("size", "batch_size", "expected"), [(32, 63, 2), (32, 21, 2), (64, 63, 1), (32, 16, 1), (32, 62, 1), (32, 80, 1)]
)
def test_a_resnet_needs_two_images_only_at_32_px_and_only_where_one_is_left(
    resnet, recipe, size: int, batch_size: int, expected: int
) -> None:
    assert least_batch(resnet, recipe(batch_size=batch_size), images=64, size=size) == expected


def test_the_image_that_is_left_is_part_of_the_batch_before(resnet, data, recipe) -> None:
    made = recipe(batch_size=21)
    alone, joined = data(made).train, data(made, model=resnet).train
    assert sizes(alone) == [21, 21, 21, 1]
    assert sizes(joined) == [21, 21, 22]
    assert (len(alone), len(joined)) == (4, 3)
    orders = [torch.cat([batch.indices for batch in batches.epoch(1)]) for batches in (alone, joined)]
    assert torch.equal(*orders)
    assert sizes(data(made, model=resnet).validation) == [16]


def test_a_network_that_learns_from_one_image_keeps_its_batches(network, resnet, data, recipe) -> None:
    assert sizes(data(recipe(batch_size=21), model=network()).train) == [21, 21, 21, 1]
    assert len(data(recipe(batch_size=1), model=network()).train) == 64
    head = recipe(batch_size=21, trainable="head")
    assert sizes(data(head, model=resnet).train) == [21, 21, 21, 1]
    assert sizes(data(recipe(batch_size=20), model=resnet).train) == [20, 20, 20, 4]


def test_looking_leaves_the_model_and_all_that_is_random_as_they_were(resnet, recipe) -> None:
    resnet.train()
    before, drawn = {name: value.clone() for name, value in resnet.state_dict().items()}, torch.get_rng_state()
    least_batch(resnet, recipe(batch_size=21), images=64, size=32)
    assert all(torch.equal(value, before[name]) for name, value in resnet.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert resnet.training
    assert not any(layer._forward_pre_hooks for layer in resnet.modules())


def test_batches_of_one_image_are_refused_by_the_key(resnet, data, recipe) -> None:
    with pytest.raises(UserError, match=r"at 32 px, where batch norm .*; set batch_size in .* params\.yaml to 2"):
        data(recipe(batch_size=1), model=resnet)


def test_a_training_with_one_image_left_ends_well(tmp_path: Path, monkeypatch, recipe, fabric) -> None:
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    write_fit(tmp_path / "fit", inputs.source(train=12, test=3), validation_fraction=0.25, seed=0)
    data, model = run.Data(tmp_path / "fit", VIEW), nets.network("mobilenet_v3_small")
    made = recipe(epochs=1, batch_size=len(data.images.train) - 1)
    history = run.run(model, CrossEntropy(), data, made, fabric=fabric, origin={"stage": "finetune", "seed": 0})
    assert len(history.epochs) == 1
