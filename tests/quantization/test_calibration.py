"""What layers see: the walk equals the model, and the drawn vectors give the layer's own outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepcompress.data.store import Arrays
from deepcompress.models.taps import tap
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import calibration, layer_inputs
from tests.quantization.conftest import VIEW


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
    assert sorted(layer_inputs.places(layer, value, 10**6, torch.Generator()).tolist()) == everywhere.tolist()
    ours = layer_inputs.vectors(layer, value, everywhere) @ layer.weight.flatten(1).T + layer.bias
    torch.testing.assert_close(ours, outputs)


def test_every_layer_is_met_with_its_true_and_its_rounded_inputs(network, make_batches) -> None:
    model, batches = network(), make_batches()
    layers, met = prunable_layers(model), {}

    def halve(name: str, seen: layer_inputs.Seen) -> torch.Tensor:
        met[name] = seen
        return layers[name].weight / 2

    with torch.no_grad():
        calibration.walk(model, batches, halve, inputs=40, seed=0)
        assert list(met) == list(layers)
        assert torch.equal(met["features.0"].true, met["features.0"].rounded)
        with tap(model, layers) as true:
            logits = model(torch.cat([batch.images for batch in batches.epoch(0)]))
        for layer in layers.values():
            layer.weight /= 2
        with tap(model, ["classifier.3"]) as rounded:
            model(torch.cat([batch.images for batch in batches.epoch(0)]))
    last = met["classifier.6"]
    assert {tuple(seen.true.shape) for name, seen in met.items() if name.startswith("features")} == {
        (40, layer.weight[0].numel()) for name, layer in layers.items() if name.startswith("features")
    }
    assert torch.equal(last.true.sort(0).values, true["classifier.3"].relu().sort(0).values)
    torch.testing.assert_close(last.rounded.sort(0).values, rounded["classifier.3"].relu().sort(0).values)
    assert logits.shape == (24, 4)


def test_the_same_seed_draws_the_same(network, make_batches) -> None:
    model = network()

    def seen_with(seed: int) -> list[torch.Tensor]:
        met: list[torch.Tensor] = []

        def keep(name: str, seen: layer_inputs.Seen) -> torch.Tensor:
            met.append(seen.true)
            return model.get_parameter(f"{name}.weight")

        calibration.walk(model, make_batches(), keep, inputs=16, seed=seed)
        return met

    assert all(torch.equal(a, b) for a, b in zip(seen_with(1), seen_with(1), strict=True))
    assert not torch.equal(seen_with(1)[0], seen_with(2)[0])


def test_some_images_are_drawn_unchanged_and_in_order(make_batches) -> None:
    arrays = make_batches().arrays
    drawn = calibration.batches(arrays, VIEW, samples=8, batch_size=3, device="cpu", seed=0)
    assert isinstance(drawn.arrays, Arrays)
    assert (drawn.size, drawn.augment, drawn.seed) == (8, None, None)
    known = {image.tobytes() for image in arrays.images}
    assert all(image.tobytes() in known for image in drawn.arrays.images)
