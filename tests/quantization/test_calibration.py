"""What layers see: the walk equals the model, and the drawn vectors give the layer's own outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepcompress.models.vgg import prunable_layers, tap
from deepcompress.quantization import calibration
from deepcompress.quantization.calibration import CalibrationInputs
from tests import nets


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_steps_in_order_are_the_model(batch_norm: bool, network, make_batches) -> None:
    model = network(batch_norm=batch_norm)
    images = next(iter(make_batches().epoch(0))).images
    value = images
    for _, step in calibration.steps(model):
        value = step(value)
    assert torch.equal(value, model(images))


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, (3, 1), stride=2), nn.Linear(6, 4)], ids=str
)
def test_vectors_times_weights_are_the_layer_s_outputs(layer: nn.Conv2d | nn.Linear) -> None:
    value = torch.randn((2, 3, 7, 6) if isinstance(layer, nn.Conv2d) else (5, 6))
    outputs = layer(value).movedim(1, -1).flatten(0, -2)
    everywhere = torch.arange(len(outputs))
    assert sorted(calibration.places(layer, value, 10**6, torch.Generator()).tolist()) == everywhere.tolist()
    ours = calibration.vectors(layer, value, everywhere) @ layer.weight.flatten(1).T + layer.bias
    torch.testing.assert_close(ours, outputs)


@torch.no_grad()
@pytest.mark.parametrize("arch", ["vgg11", "mobilenet_v2"])
def test_every_layer_is_met_with_its_float_and_its_quantized_inputs(arch: str, network, make_batches) -> None:
    model, batches = (network(), make_batches()) if arch == "vgg11" else (nets.network(arch), nets.batches(4, 2))
    images = torch.cat([batch.images for batch in batches.epoch(0)])
    layers, met = prunable_layers(model), {}

    def shrink(name: str, seen: CalibrationInputs | None) -> torch.Tensor:
        met[name] = seen
        return layers[name].weight * 0.9

    calibration.walk(model, batches, shrink, inputs=40, seed=0)
    assert set(met) == set(layers)
    assert {name for name, seen in met.items() if seen is None} == {
        name for name, layer in layers.items() if getattr(layer, "groups", 1) > 1
    }
    before, last = ("classifier.3", "classifier.6") if arch == "vgg11" else ("features", "classifier.1")

    def inputs_of_last() -> torch.Tensor:
        with tap(model, [before]) as outputs:
            model(images)
        return (outputs[before].relu() if arch == "vgg11" else outputs[before].mean((2, 3))).sort(0).values

    torch.testing.assert_close(met[last].float.sort(0).values, inputs_of_last())
    for layer in layers.values():
        layer.weight *= 0.9
    torch.testing.assert_close(met[last].quantized.sort(0).values, inputs_of_last())
    if arch == "vgg11":
        assert torch.equal(met["features.0"].float, met["features.0"].quantized)
        vectors = {name: 40 if name.startswith("features") else len(images) for name in layers}
        assert all(met[name].float.shape == (vectors[name], layer.weight[0].numel()) for name, layer in layers.items())


def test_the_same_seed_draws_the_same(network, make_batches) -> None:
    model = network()

    def seen_with(seed: int) -> list[torch.Tensor]:
        met: list[torch.Tensor] = []

        def keep(name: str, seen: CalibrationInputs) -> torch.Tensor:
            met.append(seen.float)
            return model.get_parameter(f"{name}.weight")

        calibration.walk(model, make_batches(), keep, inputs=16, seed=seed)
        return met

    assert all(torch.equal(a, b) for a, b in zip(seen_with(1), seen_with(1), strict=True))
    assert not torch.equal(seen_with(1)[0], seen_with(2)[0])
