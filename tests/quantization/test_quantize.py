"""Which layer gets which format, what the file then takes, and what rounding costs in numbers."""

from pathlib import Path

import pytest
import torch
from torch import nn

from deepcompress.models import checkpoint
from deepcompress.models.vgg import VGG, prunable_layers
from deepcompress.quantization.quantize import (
    assign,
    coverage,
    find,
    output_error,
    round_vectors_,
    smallest_encodings,
    weight_errors,
)
from tests import nets
from tests.nets import CLASSES, VIEW
from tests.quantization.conftest import network, round_

NAMES = ["fp32", "fp16", "int2", "int5", "int8"]


def test_wide_integers_have_one_scale_per_output_channel() -> None:
    assert set(assign(network(), "int8", group_size=16, channel_bits=8).values()) == {find("int8")}
    assert set(assign(network(), "int7", group_size=16, channel_bits=8).values()) == {find("int7", 16)}


def test_the_first_and_the_last_layer_may_have_widths_of_their_own_among_integers() -> None:
    formats = list(assign(network(), "int4", first_bits=8, last_bits=16, float16="bf16").values())
    assert [form.name for form in formats] == ["int8", *["int4"] * 9, "bf16"]
    assert {form.name for form in assign(network(), "fp16", first_bits=8).values()} == {"fp16"}


def wide(sparsity: float = 0.0) -> VGG:
    """Weights enough that tables and scales are little."""
    return network(sparsity=sparsity, features=(16, 32, 64, 64, 64, 64, 64, 64))


def saved_bytes(model, path: Path, name: str, size: int | None) -> int:
    """Round, save, see that equal tensors come back, and give the bytes of the tensors."""
    formats = assign(model, name, group_size=size)
    encodings = smallest_encodings(formats, round_(model, formats))
    checkpoint.save(path, model, view=VIEW, classes=CLASSES, provenance={}, encodings=encodings)
    loaded = checkpoint.load(path).model.state_dict()
    assert nets.same(loaded, model.state_dict())
    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert header < 8000
    return path.stat().st_size - header


def in_float32(model: torch.nn.Module) -> int:
    """Bytes of what is no weight of a layer."""
    weights = sum(layer.weight.numel() for layer in prunable_layers(model).values())
    return sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()) - 4 * weights


GROUPED = [(name, 32) for name in ("int2", "int4")]


@pytest.mark.parametrize(("name", "size"), [*((name, None) for name in NAMES), *GROUPED])
def test_the_file_takes_bits_scales_and_the_rest_in_float32_at_most(
    name: str, size: int | None, tmp_path: Path
) -> None:
    model = wide()
    formats = assign(model, name, group_size=size)
    layers = {key: layer.weight for key, layer in prunable_layers(model).items()}
    weights = sum(weight.numel() for weight in layers.values())
    scales = sum(2 * len(weight) * formats[key].groups(weight) for key, weight in layers.items())
    expected = weights * formats["features.0"].bits / 8 + scales + in_float32(model)
    stored = saved_bytes(model, tmp_path / "model.safetensors", name, size)
    if formats["features.0"].bits >= 16:
        assert expected <= stored <= 1.001 * expected + 8
    else:
        assert stored < expected


@pytest.mark.parametrize(("name", "bits"), [("fp16", 16), ("int8", 8), ("int4", 4)])
def test_sparsity_and_bits_combine_in_the_file(name: str, bits: int, tmp_path: Path) -> None:
    dense, pruned = (saved_bytes(wide(s), tmp_path / "model.safetensors", name, None) for s in (0.0, 0.5))
    layers = [layer.weight for layer in prunable_layers(wide()).values()]
    weights, channels = sum(weight.numel() for weight in layers), sum(len(weight) for weight in layers)
    mask_and_survivors = weights * (1 + 0.5 * bits) / 8
    assert pruned <= 1.001 * (mask_and_survivors + 2 * channels + in_float32(wide()))
    assert pruned < dense


def covered(model, formats) -> dict[str, float]:
    return coverage(model, formats, smallest_encodings(formats, round_(model, formats)))


def test_everything_or_nothing_is_quantized() -> None:
    found = covered(network(), assign(network(), "int4"))
    assert found["weights_quantized_pct"] == found["macs_quantized_pct"] == 100
    layers = [layer.weight for layer in prunable_layers(network()).values()]
    extra = sum(16 * len(weight) + 8 * 40 for weight in layers)
    assert 3 < found["bits_per_weight"] < 4 + extra / sum(weight.numel() for weight in layers)
    expected = {"bits_per_weight": 32.0, "weights_quantized_pct": 0.0, "macs_quantized_pct": 0.0}
    assert covered(network(), assign(network(), "fp32")) == expected


def test_a_layer_left_in_float32_counts_by_its_weights_and_by_its_work() -> None:
    model = network()
    formats = assign(model, "int8") | {"features.0": find("fp32")}
    weights = {name: layer.weight.numel() for name, layer in prunable_layers(model).items()}
    found = covered(model, formats)
    assert found["weights_quantized_pct"] == pytest.approx(100 * (1 - 108 / sum(weights.values())))
    sides = [32, 16, 8, 8, 4, 4, 2, 2, 1, 1, 1]
    work = [count * side**2 for count, side in zip(weights.values(), sides, strict=True)]
    assert found["macs_quantized_pct"] == pytest.approx(100 * (1 - work[0] / sum(work)))


def test_weights_of_no_layer_that_runs_count_as_not_quantized() -> None:
    model = nets.network("tests.odd_nets:Heads")
    found = covered(model, assign(model, "fp16"))
    layers, attention = 12 * 3 * 8 * 8 + 4 * 12, 3 * 12 * 12 + 12 * 12
    assert found["weights_quantized_pct"] == 100 * layers / (layers + attention)
    assert found["bits_per_weight"] == (16 * layers + 32 * attention) / (layers + attention)
    assert found["macs_quantized_pct"] == 100


def errors_of(name: str, *weights: torch.Tensor, ratio: torch.Tensor | None = None) -> dict[str, float]:
    floats = {str(number): weight for number, weight in enumerate(weights)}
    quantized = {key: find(name).quantize(weight, ratio) for key, weight in floats.items()}
    return weight_errors(floats, dict.fromkeys(floats, find(name)), quantized)


def test_weights_that_overflow_underflow_and_lose_digits_are_counted() -> None:
    weights = torch.tensor([[70000.0, 1e-9, 1e-6]]), torch.tensor([[1.0, 0.0]])
    found = errors_of("fp16", *weights)
    assert (found["overflows"], found["underflows"], found["subnormals"]) == (1, 1, 1)
    assert found["weight_error_largest"] == 70000 - 65504
    assert found["weight_error_relative"] == pytest.approx((70000 - 65504) / 70000, rel=1e-6)
    bf16 = errors_of("bf16", *weights)
    assert (bf16["overflows"], bf16["underflows"], bf16["subnormals"]) == (0, 0, 0)
    assert errors_of("fp16", torch.zeros(2, 2))["weight_error_relative"] == 0.0


def test_integers_count_what_is_clipped_and_what_becomes_zero() -> None:
    found = errors_of("int4", torch.tensor([[7.0, 2.0, 0.2, 0.0]]), ratio=torch.tensor([[0.5]]))
    assert (found["overflows"], found["underflows"], found["subnormals"]) == (1, 1, 0)
    assert found["weight_error_relative"] == pytest.approx((3.5**2 + 0.2**2) ** 0.5 / (49 + 4 + 0.04) ** 0.5)


def test_the_error_of_logits_is_relative_to_their_length() -> None:
    assert output_error(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 3.0]])) == pytest.approx(0.2)


@torch.no_grad()
@pytest.mark.parametrize(
    ("arch", "moves"),
    [
        *(("vgg11", True), ("resnet18", False), ("densenet121", False)),
        *(("tests.odd_nets:frozen", True), ("tests.odd_nets:Between", False)),
    ],
)
def test_vectors_in_16_bits_keep_answers_and_a_bias_moves_into_the_norm_that_alone_reads_it(
    arch: str, moves: bool
) -> None:
    model = network() if arch == "vgg11" else nets.network(arch)
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    biased = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.bias is not None]
    for layer in norms:
        nn.init.normal_(layer.running_mean, 0, 0.3)
        nn.init.uniform_(layer.running_var, 0.5, 2)
    for layer in biased:
        nn.init.normal_(layer.bias, 0, 0.3)
    images = torch.randn(4, 3, 32, 32)
    before = model(images)
    round_vectors_(model)
    assert torch.linalg.vector_norm(model(images) - before) < 0.02 * torch.linalg.vector_norm(before)
    assert all(layer.bias.any() != moves for layer in biased)
    assert all(torch.equal(values, values.half().float()) for values in model.parameters() if values.dim() == 1)
    assert not any(norm.running_mean.any() for norm in norms)
    assert all((norm.running_var + norm.eps == 1).all() for norm in norms)


def test_a_bias_that_is_too_large_becomes_the_largest() -> None:
    layer = nn.Linear(1, 2)
    layer.bias.data = torch.tensor([1e9, -1e-9])
    round_vectors_(layer)
    assert layer.bias.tolist() == [65504.0, 0.0]
