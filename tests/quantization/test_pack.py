"""The file: as small as bits, scales and biases say, smaller still with zeros, and back to equal tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from deepcompress.models import checkpoint
from deepcompress.models.spec import VGGSpec
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.quantization import pack, ptq
from deepcompress.quantization.assign import assign
from tests.quantization.conftest import CLASSES, VIEW

NAMES = ["fp32", "fp16", "bf16", *(f"int{bits}" for bits in range(2, 9))]


@pytest.fixture(scope="module")
def wide() -> VGG:
    """Weights enough that a header of a few kB is nothing."""
    torch.manual_seed(0)
    return VGG(VGGSpec("vgg11", True, (16, 32, 64, 64, 64, 64, 64, 64), (256, 256), len(CLASSES), 32, 0.5)).eval()


def written(model: VGG, path: Path, name: str, size: int | None) -> int:
    """Round, save, and give the size of the file."""
    formats = assign(model, name, group_size=size)
    encodings = pack.encodings(model, formats, ptq.round_(model, formats))
    checkpoint.save(path, model, view=VIEW, classes=CLASSES, provenance={}, encodings=encodings)
    return path.stat().st_size


@pytest.mark.parametrize("size", [None, 32])
@pytest.mark.parametrize("name", NAMES)
def test_the_file_takes_bits_and_scales_and_the_rest_in_float32(
    name: str, size: int | None, wide: VGG, tmp_path: Path
) -> None:
    model = VGG(wide.spec)
    model.load_state_dict(wide.state_dict())
    layers = prunable_layers(model)
    formats = assign(model, name, group_size=size)
    weights = sum(layer.weight.numel() for layer in layers.values())
    rest = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()) - 4 * weights
    scales = sum(2 * len(layer.weight) * formats[key].groups(layer.weight) for key, layer in layers.items())
    expected = weights * formats["features.0"].bits / 8 + scales + rest
    file = written(model, tmp_path / "model.safetensors", name, size)
    header = int.from_bytes((tmp_path / "model.safetensors").read_bytes()[:8], "little")
    assert header < 8000
    assert file - header <= 1.001 * expected + 8
    if formats["features.0"].bits > 3:  # below, so many weights become zero that a mask is shorter
        assert file - header >= expected
    loaded = checkpoint.load(tmp_path / "model.safetensors").model.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize(("name", "bits"), [("fp16", 16), ("int8", 8), ("int4", 4)])
def test_sparsity_and_bits_combine_in_the_file(name: str, bits: int, wide: VGG, tmp_path: Path) -> None:
    dense, pruned = VGG(wide.spec), VGG(wide.spec)
    for model, sparsity in ((dense, 0.0), (pruned, 0.5)):
        model.load_state_dict(wide.state_dict())
        for layer in prunable_layers(model).values():
            ranks = layer.weight.detach().abs().flatten().argsort()
            layer.weight.data.view(-1)[ranks[: int(sparsity * len(ranks))]] = 0
    sizes = [written(model, tmp_path / "model.safetensors", name, None) for model in (dense, pruned)]
    layers = prunable_layers(wide).values()
    weights, channels = sum(layer.weight.numel() for layer in layers), sum(len(layer.weight) for layer in layers)
    rest = sum(tensor.numel() * tensor.element_size() for tensor in wide.state_dict().values()) - 4 * weights
    header = int.from_bytes((tmp_path / "model.safetensors").read_bytes()[:8], "little")
    mask_and_survivors = weights * (1 + 0.5 * bits) / 8
    assert sizes[1] - header <= 1.001 * (mask_and_survivors + 2 * channels + rest)
    assert sizes[1] < sizes[0]
    state = checkpoint.load(tmp_path / "model.safetensors").model.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in pruned.state_dict().items())


def test_each_layer_is_stored_the_shorter_way(network) -> None:
    model = network()
    model.classifier[0].weight.data[:, ::2] = 0
    formats = assign(model, "int8")
    encodings = pack.encodings(model, formats, ptq.round_(model, formats))
    assert {name for name, encoded in encodings.items() if encoded.encoding == "packed_sparse"} == {
        "classifier.0.weight"
    }


def test_a_float32_layer_is_not_encoded(network) -> None:
    model = network()
    formats = assign(model, "fp32")
    assert pack.encodings(model, formats, ptq.round_(model, formats)) == {}
