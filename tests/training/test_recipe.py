"""Recipes: optimizers against torch's own, learning rates against torch's schedulers, and wrong values."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from deepcompress.errors import UserError
from deepcompress.training.recipe import Recipe, learning_rate, optimizer
from tests.nets import vgg
from tests.training.conftest import recipe


def rates(made: Recipe, steps: int) -> list[float]:
    return [learning_rate(made, step, steps) for step in range(steps)]


ONE_CYCLE = partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=40, cycle_momentum=False)


@pytest.mark.parametrize(
    ("schedule", "warmup", "scheduler"),
    [
        ("constant", 0.2, partial(lr_scheduler.ConstantLR, factor=1)),
        ("cosine", 0.2, partial(lr_scheduler.CosineAnnealingLR, T_max=40)),
        *(("one_cycle", warmup, partial(ONE_CYCLE, pct_start=warmup)) for warmup in (0.1, 0.2, 0.5, 0.99)),
    ],
)
def test_learning_rates_are_those_of_torchs_schedulers(schedule, warmup, scheduler):
    rule = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    stepped, expected = scheduler(rule), []
    for _ in range(40):
        expected.append(stepped.get_last_lr()[0])
        rule.step()
        stepped.step()
    made = recipe(schedule=schedule, learning_rate=0.1, warmup_fraction=warmup)
    assert rates(made, 40) == pytest.approx(expected)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_short_trainings_have_rates_up_to_the_highest(schedule, warmup, steps):
    made = recipe(schedule=schedule, learning_rate=0.1, warmup_fraction=warmup)
    assert all(0 < rate <= 0.1 for rate in rates(made, steps))


def test_adamw_decays_only_weights_of_two_dimensions_and_frozen_ones_are_left_out():
    model = vgg()
    model.classifier[0].requires_grad_(False)
    groups = optimizer(recipe(weight_decay=0.3), model.parameters()).param_groups
    decay_of = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        matrix = name.endswith("weight") and parameter.ndim > 1
        expected = None if name.startswith("classifier.0.") else 0.3 if matrix else 0.0
        assert decay_of.get(id(parameter)) == expected, name


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_network_that_is_frozen_as_a_whole_cannot_train(name):
    with pytest.raises(UserError, match=r"^all parameters of this network are frozen .*, so nothing can train$"):
        optimizer(recipe(optimizer=name), vgg().requires_grad_(False).parameters())


@pytest.mark.parametrize(("name", "rule"), [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_adam_and_sgd_are_torchs_with_decay_on_everything(name, rule):
    made = recipe(optimizer=name, learning_rate=0.1, weight_decay=0.3, momentum=0.8)
    found, expected = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([1.0, -2.0]))
    ours = optimizer(made, [found])
    plain = rule([expected], lr=0.1, weight_decay=0.3, **({"momentum": 0.8} if name == "sgd" else {}))
    for parameter, stepper in ((found, ours), (expected, plain)):
        for _ in range(3):
            stepper.zero_grad()
            parameter.square().sum().backward()
            stepper.step()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_moves_parameters_whose_gradients_begin_later(momentum) -> None:
    made = recipe(optimizer="sgd", momentum=momentum, weight_decay=0.1)
    pairs = [[torch.nn.Parameter(torch.full((3,), float(number))) for number in (1, 2)] for _ in range(2)]
    ours = optimizer(made, pairs[0])
    plain = torch.optim.SGD(pairs[1], lr=made.learning_rate, momentum=momentum, weight_decay=0.1, fused=False)
    for step in range(3):
        for early, late in pairs:
            early.grad, late.grad = torch.full((3,), 0.5 + step), None if step == 0 else torch.full((3,), 0.25)
        ours.step()
        plain.step()
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(*pairs, strict=True))
