"""Training with rounded weights: exact at the end, zeros held, gradients straight through."""

from pathlib import Path

import pytest
import torch

from deepcompress import runtime
from deepcompress.data.batches import Batches
from deepcompress.models import checkpoint
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.quantization import ptq, qat
from deepcompress.quantization.formats import intn
from deepcompress.quantization.quantize import assign, smallest_encodings
from deepcompress.training import loop
from deepcompress.training.loop import CrossEntropy
from deepcompress.training.recipe import Recipe
from deepcompress.training.run import TrainingData
from tests import nets
from tests.nets import CLASSES, VIEW
from tests.quantization.conftest import network, round_

FORMATS = [
    ("fp32", None, "learned"),
    ("fp16", None, "fixed"),
    ("bf16", None, "fixed"),
    ("int8", None, "fixed"),
    ("int4", 16, "fixed"),
    ("int4", 16, "learned"),
    ("int3", None, "learned"),
    ("int2", 16, "fixed"),
    ("int2", None, "learned"),
]


def train(model: VGG, batches: Batches, optimizer: str = "adamw") -> None:
    """Two epochs at a learning rate that moves every weight."""
    changes = {"batch_size": 10, "optimizer": optimizer, "learning_rate": 1e-2, "schedule": "constant"}
    recipe = Recipe(**nets.RECIPE | changes)
    fabric = runtime.start(runtime.Train(device="cpu", precision="32-true"), 0)
    loop.train(model, CrossEntropy(), TrainingData(batches, batches), recipe, fabric=fabric, seed=0)


@pytest.mark.parametrize(("name", "size", "steps"), FORMATS)
def test_the_model_that_was_trained_is_the_model_that_is_loaded(
    name: str, size: int | None, steps: qat.Steps, tmp_path: Path
) -> None:
    model, batches = network(sparsity=0.3), nets.batches(24, 10)
    formats = assign(model, name, group_size=size)
    qat.attach_(model, formats, ptq.without_images(model, formats, "weight_error"), steps=steps)
    train(model, batches)
    images = next(iter(batches.epoch(0))).images
    with torch.no_grad():
        trained = model(images)
    quantized = qat.detach_(model)
    model.to(memory_format=torch.contiguous_format)
    ptq.assign_(model, quantized)
    encodings = smallest_encodings(formats, quantized)
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, model, view=VIEW, classes=CLASSES, provenance={}, encodings=encodings)
    with torch.no_grad():
        assert torch.equal(checkpoint.load(path).model(images), trained)


def test_a_rounded_weight_hands_its_gradient_on_as_it_is() -> None:
    model = network()
    formats = assign(model, "int2", group_size=8)
    qat.attach_(model, formats, ptq.without_images(model, formats, "weight_error"))
    layer = model.classifier[0]
    seen = layer.weight
    gradient = torch.randn_like(seen)
    seen.backward(gradient)
    assert torch.equal(layer.parametrizations.weight.original.grad, gradient)
    assert len(seen.unique()) < len(layer.parametrizations.weight.original.unique())


def test_the_forward_pass_sees_the_rounded_weight_until_the_masters_come_back() -> None:
    model, rounded, state = network(), network(), network().state_dict()
    formats = assign(model, "int4", group_size=16)
    qat.attach_(model, formats, round_(rounded, formats))
    for name, layer in prunable_layers(rounded).items():
        assert torch.equal(prunable_layers(model)[name].weight, layer.weight)
    qat.detach_(model)
    assert nets.same(model.state_dict(), state)


def test_the_float_control_trains_as_if_nothing_were_attached() -> None:
    plain, control = network(), network()
    formats = assign(control, "fp32")
    qat.attach_(control, formats, ptq.without_images(control, formats))
    for model in (plain, control):
        train(model, nets.batches(24, 10))
    for ours, theirs in zip(plain.state_dict().values(), control.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("bits", "size", "pruned"), [(2, None, False), (3, 5, True), (8, None, False)])
def test_learned_steps_get_the_gradient_of_the_paper(bits: int, size: int | None, pruned: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(12, 3)
    layer.weight.data = torch.randn(3, 12, generator=generator)
    if pruned:
        layer.weight.data[:, ::3] = 0
    weight, gradient = layer.weight.detach().clone(), torch.randn(3, 12, generator=generator)
    form = intn.make(bits, size)
    start = form.quantize(weight, torch.full((3, form.groups(weight)), 0.6))
    fake = qat.LearnedSteps(start, weight != 0 if pruned else None)
    master = weight.clone().requires_grad_()
    fake(master).backward(gradient)
    length, low, high = start.group_size, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    for row in range(3):
        for group in range(form.groups(weight)):
            columns = [c for c in range(group * length, min((group + 1) * length, 12)) if not pruned or weight[row, c]]
            step, of_step = float(start.scales[row, group]), 0.0
            for column in columns:
                scaled, g = float(weight[row, column]) / step, float(gradient[row, column])
                inside = low < scaled < high
                of_step += g * (round(scaled) - scaled if inside else (low if scaled <= low else high))
                assert float(master.grad[row, column]) == (g if inside else 0.0)
            expected = of_step / (len(columns) * high) ** 0.5
            ours = step * float(fake.moved.grad.view(3, -1)[row, group])
            terms = 12 * float(gradient.abs().max()) * 2**bits
            assert ours == pytest.approx(expected, abs=8 * torch.finfo(torch.float32).eps * terms)
    assert not pruned or (master.grad[:, ::3] == 0).all()


def test_a_step_of_sgd_moves_a_scale_as_the_paper_does_and_adamw_does_not_decay_it() -> None:
    model = network()
    formats = assign(model, "int3")
    qat.attach_(model, formats, ptq.without_images(model, formats), steps="learned")
    fake = model.classifier[0].parametrizations.weight[0]
    before = fake.scales().float()
    fake.moved.grad = torch.full_like(fake.moved, 0.5) / fake.start.flatten()  # a gradient of 0.5 of each scale
    torch.optim.SGD([fake.moved], lr=1e-3).step()
    torch.testing.assert_close(fake.scales().float(), before - 5e-4, rtol=2**-10, atol=2**-20)
    assert fake.moved.ndim == 1


def test_masters_that_start_on_the_grid_are_the_quantized_weights_and_only_pruned_ones_are_held() -> None:
    model = network(sparsity=0.3)
    formats = assign(model, "int2")
    quantized = ptq.without_images(model, formats)
    zero = model.classifier[3].weight == 0
    qat.attach_(model, formats, quantized, from_quantized=True)
    layer = model.classifier[3]
    weight = quantized["classifier.3"]
    assert isinstance(weight, QuantizedWeight)
    assert torch.equal(layer.parametrizations.weight.original, weight.dequantize())
    assert torch.equal(layer.weight, weight.dequantize())
    assert torch.equal(layer.parametrizations.weight[0].kept, ~zero)
    assert (weight.codes == 0).sum() > zero.sum()
