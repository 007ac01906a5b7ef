"""Sizes: bytes of files, and the source report's accounting with its own numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepcompress.measure.storage import mib, payload_bytes, size_bytes, weights_mib
from deepcompress.models.spec import BLOCKS, VGGSpec
from deepcompress.models.vgg import VGG, prunable_layers

FULL = VGGSpec("vgg11", False, sum(BLOCKS["vgg11"], ()), (4096, 4096), 100, image_size=224, dropout=0.5)
TINY = VGGSpec("vgg11", True, (1,) * 8, (2, 2), 2, image_size=32, dropout=0.5)


def test_size_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"x" * 3_145_728)
    assert size_bytes(tmp_path / "model") == 3_145_728
    assert mib(3_145_728) == 3.0


def test_the_reports_baseline_has_the_reports_size() -> None:
    with torch.device("meta"):
        layers = prunable_layers(VGG(FULL))
    total = sum(layer.weight.numel() * 4 for layer in layers.values())
    assert mib(total) == pytest.approx(492.725342, abs=5e-7)  # figure 8


def test_zeros_are_counted_apart_and_biases_not_at_all() -> None:
    model = VGG(TINY)
    with torch.no_grad():
        for layer in prunable_layers(model).values():
            layer.weight.fill_(1)
        model.classifier[0].weight[0] = 0  # one of 2
        model.features[0].weight[0, 0] = 0  # 9 of 27
    weights = 27 + 7 * 9 + 2 + 4 + 4
    assert weights_mib(model) == {
        "nonzero_mib": mib(4 * (weights - 10)),
        "zero_mib": mib(40),
        "total_mib": mib(4 * weights),
    }


def test_bytes_of_every_form_are_those_worked_by_hand() -> None:
    model = VGG(TINY)
    with torch.no_grad():
        for layer in prunable_layers(model).values():
            layer.weight.fill_(1)
        model.classifier[0].weight[0] = 0  # one of 2
        model.features[0].weight[0, 0] = 0  # 9 of 27
    weights, nonzero, rows = 27 + 7 * 9 + 2 + 4 + 4, 27 + 7 * 9 + 2 + 4 + 4 - 10, 8 + 2 + 2 + 2
    others = sum(tensor.nbytes for tensor in model.state_dict().values()) - 4 * weights
    mask = 4 + 7 * 2 + 3 * 1  # bytes that hold 27, 9 and at most 4 bits
    found = payload_bytes(model)
    assert found["dense_bytes"] == 4 * weights + others
    assert found["bitmask_bytes"] == mask + 4 * nonzero + others
    assert found["csr_bytes"] == 8 * nonzero + 4 * (rows + 11) + others


def test_zstd_shrinks_what_repeats_and_gives_the_same_size_twice() -> None:
    model = VGG(VGGSpec("vgg11", True, (8,) * 8, (16, 16), 2, image_size=32, dropout=0.5))
    noisy = payload_bytes(model)
    with torch.no_grad():
        for layer in prunable_layers(model).values():
            layer.weight.zero_()
    zeros = payload_bytes(model)
    assert zeros["zstd_bytes"] < 0.5 * noisy["zstd_bytes"]
    assert zeros == payload_bytes(model)
