"""Training with rounded weights: exact at the end, zeros held, gradients straight through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from deepcompress import runtime
from deepcompress.data.batches import Batches
from deepcompress.models import checkpoint
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.quantization import ptq, qat
from deepcompress.quantization.quantize import assign, smallest_encodings
from deepcompress.training import loop
from deepcompress.training.inputs import TrainingData
from deepcompress.training.loop import CrossEntropy
from deepcompress.training.recipe import Recipe
from tests import nets
from tests.quantization.conftest import CLASSES, VIEW

FORMATS = [("fp32", None), ("fp16", None), ("bf16", None), ("int8", None), ("int4", 16), ("int3", None), ("int2", 16)]


@pytest.fixture
def train() -> Callable[..., None]:
    """Two epochs at a learning rate that moves every weight."""

    def run(model: VGG, batches: Batches, optimizer: str = "adamw") -> None:
        recipe = Recipe(
            trainable="all",
            epochs=2,
            batch_size=10,
            optimizer=optimizer,
            learning_rate=1e-2,
            weight_decay=0.05,
            schedule="constant",
        )
        fabric = runtime.start(runtime.Train(device="cpu", precision="32-true"), 0)
        loop.train(model, CrossEntropy(), TrainingData(batches, batches), recipe, fabric=fabric, seed=0)

    return run


@pytest.mark.parametrize(("name", "size"), FORMATS)
def test_the_model_that_was_trained_is_the_model_that_is_loaded(
    name: str, size: int | None, network, make_batches, train, tmp_path: Path
) -> None:
    model, batches = network(sparsity=0.3), make_batches()
    formats = assign(model, name, group_size=size)
    ratios = ptq.by_weight_error(model, formats)
    qat.attach_(model, formats, ratios)
    train(model, batches)
    images = next(iter(batches.epoch(0))).images
    with torch.no_grad():
        trained = model(images)
    qat.detach_(model)
    model.to(memory_format=torch.contiguous_format)
    encodings = smallest_encodings(formats, ptq.quantize_weights_(model, formats, ratios))
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, model, view=VIEW, classes=CLASSES, provenance={}, encodings=encodings)
    with torch.no_grad():
        assert torch.equal(checkpoint.load(path).model(images), trained)


@pytest.mark.parametrize(("name", "optimizer"), [("fp32", "adamw"), ("fp16", "adam"), ("int4", "sgd")])
def test_zeros_before_are_zeros_after(name: str, optimizer: str, network, make_batches, train) -> None:
    model = network(sparsity=0.5)
    before = {key: layer.weight.detach().clone() for key, layer in prunable_layers(model).items()}
    formats = assign(model, name)
    qat.attach_(model, formats, dict.fromkeys(formats))
    train(model, make_batches(), optimizer)
    qat.detach_(model)
    for key, layer in prunable_layers(model).items():
        assert torch.equal(layer.weight[before[key] == 0], torch.zeros(int((before[key] == 0).sum())))
        assert not torch.equal(layer.weight, before[key])


def test_a_rounded_weight_hands_its_gradient_on_as_it_is(network) -> None:
    model = network()
    formats = assign(model, "int2", group_size=8)
    qat.attach_(model, formats, {name: torch.full((len(layer.weight), formats[name].groups(layer.weight)), 0.5)
                                  for name, layer in prunable_layers(model).items()})  # fmt: skip
    layer = model.classifier[0]
    seen = layer.weight
    gradient = torch.randn_like(seen)
    seen.backward(gradient)
    assert torch.equal(layer.parametrizations.weight.original.grad, gradient)
    assert len(seen.unique()) < len(layer.parametrizations.weight.original.unique())


def test_the_forward_pass_sees_the_rounded_weight_until_the_masters_come_back(network) -> None:
    model, rounded, state = network(), network(), network().state_dict()
    formats = assign(model, "int4", group_size=16)
    qat.attach_(model, formats, dict.fromkeys(formats))
    ptq.quantize_weights_(rounded, formats)
    for name, layer in prunable_layers(rounded).items():
        assert torch.equal(prunable_layers(model)[name].weight, layer.weight)
    qat.detach_(model)
    assert set(model.state_dict()) == set(state)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_the_float_control_trains_as_if_nothing_were_attached(network, make_batches, train) -> None:
    plain, control = network(), network()
    formats = assign(control, "fp32")
    qat.attach_(control, formats, dict.fromkeys(formats))
    for model in (plain, control):
        train(model, make_batches())
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(plain.state_dict().values(), control.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
def test_a_step_with_rounded_weights_moves_every_layer_of_other_networks(arch: str) -> None:
    model = nets.network(arch)
    formats = assign(model, "int4", group_size=32)
    before = {name: layer.weight.detach().clone() for name, layer in prunable_layers(model).items()}
    qat.attach_(model, formats, dict.fromkeys(formats))
    batch = next(nets.batches().epoch(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model.train()(batch.images), batch.labels).backward()
    optimizer.step()
    qat.detach_(model)
    assert all(not torch.equal(before[name], layer.weight) for name, layer in prunable_layers(model).items())
    assert model.eval()(batch.images).isfinite().all()
