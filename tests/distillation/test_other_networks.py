"""Students and teachers of different families: a step moves the student, and maps are matched by their size."""

from __future__ import annotations

import json

import pytest
import torch

from deepcompress import registry
from deepcompress.distillation.loss import LossContext, Outputs, read
from deepcompress.distillation.objective import DistillObjective
from deepcompress.distillation.settings import LOSSES
from deepcompress.distillation.teacher_cache import Teacher
from deepcompress.errors import UserError
from deepcompress.models.taps import tap
from tests.distillation.conftest import make_network
from tests.nets import batches, network


class OnlineTeacher(Teacher):
    """Asks the teacher itself."""

    def __init__(self, model, taps):
        self.model, self.taps = model, taps

    @torch.no_grad()
    def outputs(self, batch):
        with tap(self.model, {one.layer for one in self.taps}) as seen:
            logits = self.model(batch.images)
        return Outputs(logits, read(seen, self.taps))


BLOCKS = {"hint": {"guided_layer": "block4", "hint_layer": "block4"}, "at": {"layers": ["block3", "block4"]}}


@pytest.mark.parametrize(("student", "teacher"), [("resnet18", "vgg16"), ("vgg11", "mobilenet_v2")])
@pytest.mark.parametrize("name", ["logit", "hint", "at", "sp", "crd"])
def test_a_step_moves_the_student(name: str, student: str, teacher: str) -> None:
    made = [make_network(arch) if arch.startswith("vgg") else network(arch) for arch in (student, teacher)]
    data = batches(images=8, batch_size=8)
    module = registry.find(LOSSES, name)
    options = module.Options.model_validate_json(json.dumps(BLOCKS.get(name, {})))
    loss = module.build(options, LossContext(made[0], made[1].requires_grad_(False), torch.arange(8) % 4))
    live = OnlineTeacher(made[1], loss.teacher_taps)
    objective = DistillObjective({name: (1.0, loss)}, live, cross_entropy=0.5, label_smoothing=0.0, steps_per_epoch=1)
    value = objective(made[0].train(), next(data.epoch(0)))
    value.backward()
    assert value.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made[0].parameters())


def test_a_layer_that_the_student_does_not_have_is_refused() -> None:
    module = registry.find(LOSSES, "hint")
    with pytest.raises(UserError, match=r"layer 'block4.relu1' does not exist in a resnet18; there are block2"):
        module.build(module.Options(), LossContext(network("resnet18"), make_network("vgg16"), torch.arange(8)))
