"""One step: what trains and what does not, masks, and mixed precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepcompress import runtime
from deepcompress.data.batches import Batch
from deepcompress.training import loop
from deepcompress.training.loop import CrossEntropy, Objective
from tests.training.interruption import Count, StoppedError, same


class Regressor(Objective):
    """Has a layer that trains along and a frozen teacher with batch statistics."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer, self.teacher = nn.Linear(3, 3), teacher.requires_grad_(False)

    def forward(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        assert not any(module.training for module in self.teacher.modules())
        assert self.layer.training
        return F.mse_loss(self.layer(model(batch.images)), self.teacher(batch.images))


def test_what_an_objective_owns_trains_along_but_a_teacher_does_not(run, recipe, network, tmp_path):
    made, objectives = recipe(epochs=2), [Regressor(network()) for _ in range(3)]
    before = {name: tensor.clone() for name, tensor in objectives[0].state_dict().items()}
    straight, _ = run(made, objectives[0])
    after = objectives[0].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("teacher"))
    assert not any(torch.equal(before[name], after[name]) for name in before if name.startswith("layer"))
    with pytest.raises(StoppedError):
        run(made, objectives[1], resume_folder=tmp_path, after_step=Count(last=6))
    resumed, _ = run(made, objectives[2], resume_folder=tmp_path)
    assert same(straight, resumed)
    assert same(after, objectives[2].state_dict())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_masks_hold_through_momentum_and_decay(recipe, network, data, fabric, optimizer):
    made, model = recipe(epochs=2, optimizer=optimizer, keep="best_validation"), network()
    weight = model.features[0].weight
    mask = torch.rand_like(weight) < 0.5

    def hold() -> None:
        with torch.no_grad():
            weight.mul_(mask)

    hold()
    loop.train(model, CrossEntropy(), data(made), made, fabric=fabric, seed=0, after_step=hold)
    assert not model.features[0].weight[~mask].any()
    assert model.features[0].weight[mask].all()


def test_head_only_leaves_everything_else_as_it_was(run, recipe, network):
    weights, _ = run(recipe(trainable="head", epochs=1, augment={"flip": True}))
    changed = {name for name, tensor in network().state_dict().items() if not torch.equal(tensor, weights[name])}
    assert changed == {"classifier.6.weight", "classifier.6.bias"}


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_mixed_precision_trains_and_resumes(network, data, recipe, tmp_path, trainable):
    fabric = runtime.start(runtime.Train(device="cpu", precision="bf16-mixed"), 0)
    made, ends = recipe(epochs=2, trainable=trainable), []
    for after_step, folder in ((None, None), (Count(last=6), tmp_path), (None, tmp_path)):
        model = network()
        options = {"fabric": fabric, "seed": 0, "resume_folder": folder, "after_step": after_step}
        try:
            loop.train(model, CrossEntropy(), data(made), made, **options)
        except StoppedError:
            continue
        ends.append(model.state_dict())
    assert same(*ends)
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in ends[0].values())
