"""What holds for every file in losses/, whoever adds one."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

from deepcompress import registry
from deepcompress.distillation.loss import Loss, LossContext, LossOptions

NAMES = registry.names("distillation.losses")


def built(name: str, context: LossContext) -> Loss:
    module = registry.find("distillation.losses", name)
    torch.manual_seed(5)
    return module.build(module.Options(), context)


def test_the_losses_of_the_source_report_and_more_are_there() -> None:
    assert {"logit", "smoothed_logits", "hint", "crd", "dkd"} < set(NAMES)
    assert len(NAMES) >= 7


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_options_with_defaults_and_names_its_source(name: str) -> None:
    module = registry.find("distillation.losses", name)
    assert issubclass(module.Options, LossOptions)
    assert module.Options().weight > 0
    losses = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Loss) and member.__module__ == module.__name__
    ]
    assert len(losses) == 1
    source = re.search(r"Source: .*", losses[0].__doc__ or "", flags=re.DOTALL)
    assert source
    assert "https://" in source.group()


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_to_the_student_is_finite_and_not_zero(
    name: str, context, student, teacher, distill_batch
) -> None:
    loss = built(name, context)
    value = loss(distill_batch(loss, student, teacher, epoch=1))
    assert value.shape == ()
    value.backward()
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert max(float(gradient.abs().max()) for gradient in gradients) > 0
    assert all(parameter.grad is not None for parameter in loss.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_reaches_the_teacher(name: str, context, student, teacher, distill_batch) -> None:
    loss = built(name, context)
    teacher.requires_grad_(True)
    before = {key: tensor.clone() for key, tensor in teacher.state_dict().items()}
    loss(distill_batch(loss, student, teacher)).backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in teacher.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_images_does_not_matter(name: str, context, student, teacher, distill_batch) -> None:
    rows = torch.tensor([0, 1, 2, 3, 5, 8, 13, 21])
    values = []
    for order in (rows, rows[torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])]):
        loss = built(name, context)
        torch.manual_seed(6)
        values.append(loss(distill_batch(loss, student, teacher, order)).item())
    assert values[0] == pytest.approx(values[1], rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_zero_for_equal_networks_or_says_that_it_is_not(name: str, network, arrays, distill_batch) -> None:
    module = registry.find("distillation.losses", name)
    twins = network("vgg16", number=1), network("vgg16", number=1).requires_grad_(False)
    loss = built(name, LossContext(*twins, torch.from_numpy(arrays.labels)))
    value = loss(distill_batch(loss, *twins)).item()
    if module.ZERO_FOR_EQUAL_NETWORKS:
        assert value == pytest.approx(0, abs=1e-6)
    else:
        assert value > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_it_is_never_negative(name: str, context, network, teacher, distill_batch) -> None:
    for number in range(3):
        loss = built(name, context)
        assert loss(distill_batch(loss, network(number=number + 10), teacher)).item() >= 0


@pytest.mark.parametrize("name", NAMES)
def test_sure_networks_give_finite_numbers_and_gradients(name: str, context, student, teacher, distill_batch) -> None:
    loss = built(name, context)
    value = loss(distill_batch(loss, student, teacher, scale=1e4))
    value.backward()
    assert value.isfinite()
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_does_not_read_logits_can_do_without(name: str, context, student, teacher, distill_batch) -> None:
    loss = built(name, context)
    seen = distill_batch(loss, student, teacher)
    if loss.reads_logits:
        assert not loss.teacher_taps
        return
    blind = type(seen)(seen.student, type(seen.teacher)(None, seen.teacher.features), seen.labels, seen.indices, 1)
    assert loss(blind).isfinite()
