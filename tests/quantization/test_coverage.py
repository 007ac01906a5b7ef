"""Shares of weights and of work, and bits per weight, against counts by hand."""

from __future__ import annotations

import pytest

from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import pack, ptq
from deepcompress.quantization.assign import assign
from deepcompress.quantization.coverage import coverage


def of(model, formats) -> dict[str, float]:
    return coverage(model, formats, pack.encodings(model, formats, ptq.round_(model, formats)))


def test_everything_is_quantized(network) -> None:
    found = of(network(), assign(network(), "int4"))
    assert found["weights_quantized_pct"] == found["macs_quantized_pct"] == 100
    weights = sum(layer.weight.numel() for layer in prunable_layers(network()).values())
    channels = sum(len(layer.weight) for layer in prunable_layers(network()).values())
    padding = sum(-layer.weight.numel() % 8 for layer in prunable_layers(network()).values())
    assert found["bits_per_weight"] == pytest.approx(4 + (16 * channels + 4 * padding) / weights)


def test_nothing_is_quantized(network) -> None:
    expected = {"bits_per_weight": 32.0, "weights_quantized_pct": 0.0, "macs_quantized_pct": 0.0}
    assert of(network(), assign(network(), "fp32")) == expected


def test_a_layer_left_in_float32_counts_by_its_weights_and_by_its_work(network) -> None:
    model = network()
    formats = assign(model, "int8") | {"features.0": assign(model, "fp32")["features.0"]}
    weights = {name: layer.weight.numel() for name, layer in prunable_layers(model).items()}
    found = of(model, formats)
    assert found["weights_quantized_pct"] == pytest.approx(100 * (1 - 108 / sum(weights.values())))
    work = {name: count * side**2 for (name, count), side in zip(weights.items(), [32, 16, 8, 8, 4, 4, 2, 2, 1, 1, 1],
                                                                 strict=True)}  # fmt: skip
    assert found["macs_quantized_pct"] == pytest.approx(100 * (1 - work["features.0"] / sum(work.values())))
