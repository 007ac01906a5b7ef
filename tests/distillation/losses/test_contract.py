"""What holds for every file in losses/, whoever adds one."""

import inspect
import re
from dataclasses import replace

import pytest
import torch

from deepcompress import params
from deepcompress.distillation.loss import Loss, LossContext, LossOptions
from tests.distillation.conftest import ARRAYS, distill_batch, make_network
from tests.nets import same, state

NAMES = params.plugins("distillation.losses")


def built(name: str, context: LossContext) -> Loss:
    module = params.plugin("distillation.losses", name)
    torch.manual_seed(5)
    return module.build(module.Options(), context)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_options_with_defaults_and_names_its_source(name: str) -> None:
    module = params.plugin("distillation.losses", name)
    assert issubclass(module.Options, LossOptions)
    assert module.Options().weight > 0
    classes = {member for _, member in inspect.getmembers(module, inspect.isclass) if issubclass(member, Loss)}
    (loss,) = [member for member in classes if member.__module__ == module.__name__]
    assert re.search(r"Source: .*https://", loss.__doc__ or "", flags=re.DOTALL)


@pytest.mark.parametrize("scale", [1, 1e4])  # the latter: networks that are sure
@pytest.mark.parametrize("name", NAMES)
def test_it_is_no_negative_number_and_its_finite_gradient_reaches_the_student_alone(
    name: str, context, student, teacher, scale
) -> None:
    loss, before = built(name, context), state(teacher)
    teacher.requires_grad_(True)
    batch = distill_batch(loss, student, teacher, scale=scale)
    if not loss.reads_logits:
        batch = replace(batch, teacher=replace(batch.teacher, logits=None))
    value = loss(batch)
    value.backward()
    assert value.shape == ()
    assert 0 <= value < torch.inf
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert max(float(gradient.abs().max()) for gradient in gradients) > 0 or scale > 1
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert same(before, teacher.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_images_does_not_matter(name: str, context, student, teacher) -> None:
    rows = torch.tensor([0, 1, 2, 3, 5, 8, 13, 21])
    values = []
    for order in (rows, rows[torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])]):
        loss = built(name, context)
        torch.manual_seed(6)
        values.append(loss(distill_batch(loss, student, teacher, order)).item())
    assert values[0] == pytest.approx(values[1], rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_zero_for_equal_networks_or_says_that_it_is_not(name: str) -> None:
    module = params.plugin("distillation.losses", name)
    twins = make_network("vgg16", number=1), make_network("vgg16", number=1).requires_grad_(False)
    loss = built(name, LossContext(*twins, torch.from_numpy(ARRAYS.labels)))
    value = loss(distill_batch(loss, *twins)).item()
    if module.ZERO_FOR_EQUAL_NETWORKS:
        assert value == pytest.approx(0, abs=1e-6)
    else:
        assert value > 1e-4
