"""Networks with shortcuts: what their layers see, rounded weights in a file, and training with rounded weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from deepcompress.models.taps import tap
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import calibration, fake, layer_inputs, pack, ptq
from deepcompress.quantization.assign import assign
from tests.nets import CLASSES, VIEW, batches, network

FEW = ("resnet18", "mobilenet_v2")


@torch.no_grad()
def test_every_layer_is_met_with_its_true_and_its_rounded_inputs() -> None:
    model, data = network("mobilenet_v2"), batches(images=4, batch_size=2)
    layers, met = prunable_layers(model), {}

    def shrunk(name: str, seen: layer_inputs.Seen | None) -> torch.Tensor:
        met[name] = seen
        return layers[name].weight * 0.9

    calibration.walk(model, data, shrunk, inputs=4, seed=0)
    assert set(met) == set(layers)
    assert {name for name, seen in met.items() if seen is None} == {
        name for name, layer in layers.items() if getattr(layer, "groups", 1) > 1
    }
    images = torch.cat([batch.images for batch in data.epoch(0)])
    with tap(model, ["features"]) as true:
        model(images)
    for layer in layers.values():
        layer.weight *= 0.9
    with tap(model, ["features"]) as rounded:
        model(images)
    for seen, outputs in ((met["classifier.1"].true, true), (met["classifier.1"].rounded, rounded)):
        pooled = outputs["features"].mean((2, 3))
        torch.testing.assert_close(seen.sort(0).values, pooled.sort(0).values)


@pytest.mark.parametrize("arch", FEW)
def test_rounded_weights_are_packed_and_come_back(arch: str, tmp_path: Path) -> None:
    model, sizes = network(arch), {}
    checkpoint.save(tmp_path / "float32.safetensors", model, view=VIEW, classes=CLASSES, provenance={})
    for name in ("int8", "int4"):
        model = network(arch)
        formats = assign(model, name, group_size=32)
        scales = ptq.round_(model, formats)
        encodings = pack.encodings(model, formats, scales)
        path = tmp_path / f"{name}.safetensors"
        checkpoint.save(path, model, view=VIEW, classes=CLASSES, provenance={}, encodings=encodings)
        loaded = checkpoint.load(path).model.state_dict()
        assert all(torch.equal(tensor, loaded[key]) for key, tensor in model.state_dict().items())
        sizes[name] = path.stat().st_size / (tmp_path / "float32.safetensors").stat().st_size
    assert sizes["int8"] < 0.35
    assert sizes["int4"] < 0.25


def test_a_depthwise_convolution_has_a_scale_per_channel() -> None:
    model = network("mobilenet_v2")
    scales = ptq.round_(model, assign(model, "int8"))
    assert scales["features.1.conv.0.0"].shape == (32, 1)
    assert model.get_parameter("features.1.conv.0.0.weight").shape == (32, 1, 3, 3)


def test_the_search_on_outputs_answers_closer_to_the_model() -> None:
    data, true = batches(images=16, batch_size=8), network("resnet18")
    formats = assign(true, "int3")
    before, _ = accuracy.logits(true, data)
    errors = []
    for shrinks in (None, ptq.by_output_error(true, formats, data, inputs=256, seed=0)):
        model = network("resnet18")
        ptq.round_(model, formats, shrinks)
        errors.append(float((accuracy.logits(model, data)[0] - before).norm()))
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("arch", FEW)
def test_a_step_with_rounded_weights_moves_every_layer(arch: str) -> None:
    model = network(arch)
    formats = assign(model, "int4", group_size=32)
    before = {name: layer.weight.detach().clone() for name, layer in prunable_layers(model).items()}
    fake.attach_(model, formats, dict.fromkeys(formats))
    batch = next(batches().epoch(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model.train()(batch.images), batch.labels).backward()
    optimizer.step()
    fake.detach_(model)
    assert all(not torch.equal(before[name], layer.weight) for name, layer in prunable_layers(model).items())
    assert model.eval()(batch.images).isfinite().all()
