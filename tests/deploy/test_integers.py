"""Files of integers: int8 nearly agrees with the float file; int4 holds the checkpoint's own, half a byte each."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from deepcompress import files, runtime
from deepcompress.data.batches import Batches
from deepcompress.data.store import Arrays
from deepcompress.deploy import integers
from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.deploy.integers import Deployable, int4_weights, quantize_int4, quantize_int8
from deepcompress.deploy.onnx import Parity, channels_first, compare
from deepcompress.deploy.settings import Deploy
from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.vgg import prunable_layers
from tests import nets
from tests.data.inputs import CLASSES
from tests.deploy.conftest import DEPLOY, META, STORED, VIEW, Exported, coloured, network, save

CALIBRATION = channels_first(coloured(8, 64, STORED), VIEW.size)
IMAGES = Arrays(coloured(7, 80, STORED), np.arange(80) % len(CLASSES))


def int8_tensors(path: Path) -> dict[str, np.ndarray]:
    """Integers of the 8 convolutions and 3 linear layers."""
    tensors = onnx.load(path).graph.initializer
    return {t.name: numpy_helper.to_array(t) for t in tensors if t.data_type == TensorProto.INT8 and len(t.dims) > 1}


def test_int8_weights_have_a_scale_per_output_channel(exported: Exported) -> None:
    proto, integers = onnx.load(exported.int8_file), int8_tensors(exported.int8_file)
    dims = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    scales = [node.input[1] for node in proto.graph.node if node.input[:1] and node.input[0] in integers]
    assert len(integers) == len(scales) == 11
    assert sorted(dims[name] for name in scales) == sorted([[w] for w in (4, 8, 16, 16, 32, 32, 32, 32, 64, 64, 3)])
    floats = [t for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT]
    assert not [t for t in floats if np.prod(t.dims, initial=1) > 64]


def test_int8_is_calibrated_on_images_and_gives_the_same_bytes_again(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = channels_first(exported.images.images, VIEW.size)
    dark, again = tmp_path / "dark.onnx", tmp_path / "again.onnx"
    quantize_int8(exported.float_file, dark, images=np.zeros_like(CALIBRATION), reduce_range=True)
    expected, near, far = (OnnxClassifier(f).run(pixels) for f in (exported.float_file, exported.int8_file, dark))
    assert 0 < np.abs(near - expected).mean() < 0.1 * expected.std()
    assert np.abs(near - expected).mean() < np.abs(far - expected).mean()
    assert OnnxClassifier(exported.int8_file).contract == OnnxClassifier(exported.float_file).contract
    assert exported.int8_file.stat().st_size < 0.45 * exported.float_file.stat().st_size
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    quantize_int8(exported.float_file, again, images=CALIBRATION, reduce_range=True)
    assert files.sha256(again) == files.sha256(exported.int8_file)
    monkeypatch.setattr(integers, "quantize_static", None)  # another calibration would need it
    quantize_int8(exported.float_file, again, images=CALIBRATION, reduce_range=True)
    assert files.sha256(again) == files.sha256(exported.int8_file)
    with pytest.raises(TypeError):
        quantize_int8(exported.float_file, again, images=CALIBRATION, reduce_range=False)


def test_what_onnx_runtime_wrote_in_part_without_a_word_is_told_of(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(runtime.SCRATCH_VARIABLE, str(tmp_path / "scratch"))
    content = exported.float_file.read_bytes()
    monkeypatch.setattr(integers, "quant_pre_process", lambda _, prepared, **__: prepared.write_bytes(content[:-9]))
    with pytest.raises(UserError, match=r"prepared\.onnx: ONNX Runtime wrote it in part; is the disk full\?"):
        quantize_int8(exported.float_file, tmp_path / "x.onnx", images=CALIBRATION, reduce_range=True)
    assert not (tmp_path / "x.onnx").exists()


def test_reduce_range_takes_seven_bits(exported: Exported, tmp_path: Path) -> None:
    quantize_int8(exported.float_file, tmp_path / "full.onnx", images=CALIBRATION, reduce_range=False)
    assert max(np.abs(w.astype(int)).max() for w in int8_tensors(exported.int8_file).values()) <= 64
    assert max(np.abs(w.astype(int)).max() for w in int8_tensors(tmp_path / "full.onnx").values()) == 127


def test_a_file_of_another_program_and_no_images_are_refused(exported: Exported, tmp_path: Path) -> None:
    proto = onnx.load(exported.float_file)
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(UserError, match=r"other\.onnx: not a deepcompress export"):
        quantize_int8(tmp_path / "other.onnx", tmp_path / "a.onnx", images=CALIBRATION, reduce_range=True)
    with pytest.raises(UserError, match=r"other\.onnx: not a deepcompress export"):
        quantize_int4(tmp_path / "other.onnx", tmp_path / "a.onnx", {})
    with pytest.raises(ValueError, match="no images to calibrate on"):
        quantize_int8(exported.float_file, tmp_path / "a.onnx", images=CALIBRATION[:0], reduce_range=True)
    assert not (tmp_path / "a.onnx").exists()


def few_bits(folder: Path, model: torch.nn.Module, bits: int, size: int | None, **saved: Any) -> Deployable:
    """A model that is rounded to integers, and its files."""
    save(folder / "model.safetensors", model, bits=bits, group_size=size, **saved)
    images = np.asarray(nets.arrays(16).images)
    return Deployable(folder / "model.safetensors", images, META, Deploy(**DEPLOY), folder, always_int8=True)


def parity(few: Deployable, file: Path | None, images: Arrays) -> tuple[Parity, float]:
    """How a file compares with the checkpoint, and the spread of the logits."""
    assert file is not None
    logits = accuracy.logits(few.loaded.model, Batches(images, few.loaded.view, batch_size=16))[0]
    return compare(OnnxClassifier(file), logits, images), float(logits.std())


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Deployable:
    """A scale per 16 inputs; the first convolution's rows of 27 are cut into 14 and 13."""
    return few_bits(tmp_path_factory.mktemp("int4"), network(), 4, 16)


def operators(path: Path | None) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_every_int4_weight_takes_half_a_byte_and_is_the_checkpoint_s(grouped: Deployable, tmp_path: Path) -> None:
    tensors = {tensor.name: tensor for tensor in onnx.load(grouped.int4_file).graph.initializer}
    layers, weights = prunable_layers(grouped.loaded.model), int4_weights(grouped.loaded)
    assert list(weights) == [f"{name}.weight" for name in layers]
    for name, layer in layers.items():
        codes = tensors[f"model.{name}.weight_codes"]
        assert len(codes.raw_data) == pytest.approx(layer.weight.numel() / 2, rel=0.05)  # a short last group is filled
        assert f"model.{name}.weight" not in tensors
        weight = weights[f"{name}.weight"]
        assert torch.equal(weight.dequantize(), layer.weight)
        assert -8 <= weight.codes.min() < 0 < weight.codes.max() <= 7
    assert not {"Gemm", "MatMul", "DequantizeLinear"} & set(operators(grouped.int4_file))
    quantize_int4(grouped.float_file, tmp_path / "again.onnx", weights)
    assert files.sha256(tmp_path / "again.onnx") == files.sha256(grouped.int4_file)
    assert OnnxClassifier(grouped.int4_file).contract == OnnxClassifier(grouped.float_file).contract


@pytest.mark.parametrize(("bits", "size"), [(4, 16), (4, 12), (4, None), (3, 16)])
def test_int4_differs_from_the_model_in_the_activations_of_linear_layers_alone(
    bits: int, size: int | None, tmp_path: Path
) -> None:
    few = few_bits(tmp_path, network(2), bits, size)
    found, spread = parity(few, few.int4_file, IMAGES)
    multiplied_out = size == 12  # which no block of products can hold
    assert operators(few.int4_file).count("MatMulNBits") == (0 if multiplied_out else 3)
    assert (found.largest_difference < 1e-4 * spread) == multiplied_out
    assert found.largest_difference < 0.1 * spread
    assert found.agreement_pct >= 95


TOKENS = pytest.param(
    "timm:vit_tiny_patch16_224",
    marks=[pytest.mark.slow, pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")],
)


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2", TOKENS])
def test_other_networks_agree_in_float32_int8_and_int4(arch: str, tmp_path: Path) -> None:
    few, images = few_bits(tmp_path, nets.network(arch), 4, 32, view=nets.VIEW, classes=nets.CLASSES), nets.arrays(16)
    for file, off, size in ((few.float_file, 1e-4, 1.0), (few.int4_file, 0.1, 0.25), (few.int8_file, 4.0, 0.35)):
        found, spread = parity(few, file, images)
        assert found.largest_difference < off * spread
        assert file.stat().st_size <= size * few.float_file.stat().st_size
        assert found.agreement_pct == 100 or file != few.float_file


def test_a_weight_that_is_no_multiple_of_the_stored_one_stays_in_float32(grouped: Deployable, tmp_path: Path) -> None:
    weights = int4_weights(grouped.loaded)
    first = weights["features.0.weight"]
    flipped = {"features.0.weight": QuantizedWeight(first.codes.flip(0), first.scales, first.bits)}
    quantize_int4(grouped.float_file, tmp_path / "part.onnx", weights | flipped)
    names = {tensor.name for tensor in onnx.load(tmp_path / "part.onnx").graph.initializer}
    assert "model.features.0.weight" in names
    assert "model.features.4.weight" not in names


HIGHEST = 7


def proto(weight: np.ndarray, **attributes: object) -> onnx.ModelProto:
    """A convolution of float images."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Conv", ["floats", "weight"], ["maps"], **attributes),
    ]
    inputs = [helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["n", 3, 12, 12])]
    outputs = [helper.make_tensor_value_info("maps", onnx.TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, [numpy_helper.from_array(weight, "weight")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def images() -> np.ndarray:
    """Neighbouring pixels are alike."""
    draw = np.random.default_rng(0)
    return (draw.integers(0, 200, (8, 3, 1, 1)) + draw.integers(0, 50, (8, 3, 12, 12))).astype(np.uint8)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("attributes", [{"pads": [1, 1, 1, 1]}, {"strides": [2, 2], "dilations": [2, 1]}])
def test_outputs_err_less_than_those_of_nearest_rounding(attributes: dict[str, list[int]]) -> None:
    weight = weights(16, 3, 3, 3)
    made = proto(weight, **attributes)
    scales = integers.round_first_(made, images(), layers=1, highest=HIGHEST)["weight"]
    rounded = numpy_helper.to_array(made.graph.initializer[0])
    codes = rounded / scales[:, None, None, None]
    np.testing.assert_allclose(codes, np.rint(codes), atol=1e-5)
    assert np.abs(np.rint(codes)).max() <= HIGHEST
    steps = np.abs(weight).max((1, 2, 3), keepdims=True) / HIGHEST
    nearest = np.rint(weight / steps) * steps
    options = {"padding": 1} if "pads" in attributes else {"stride": 2, "dilation": (2, 1)}

    def error(other: np.ndarray) -> float:
        difference = torch.from_numpy((other - weight).astype(np.float32))
        return torch.conv2d(torch.from_numpy(images()).float(), difference, **options).square().mean().item()

    assert error(rounded) < 0.5 * error(nearest)


def test_with_independent_inputs_a_large_grid_rounds_to_nearest() -> None:
    weight = np.array([[3.2, -7.0, 0.4]], np.float32)
    rounded, scales = integers.rounded_together(weight, np.eye(3), 7)
    assert scales[0] == pytest.approx(1)
    np.testing.assert_allclose(rounded, [[3, -7, 0]])


def test_channels_of_zeros_and_inputs_of_zeros_give_numbers() -> None:
    rounded, scales = integers.rounded_together(np.array([[0, 0], [1, 2]], np.float32), np.zeros((2, 2)), 2)
    np.testing.assert_allclose(rounded, [[0, 0], [1, 2]])
    assert np.isfinite(scales).all()
    assert (scales > 0).all()


def test_grouped_and_later_convolutions_stay() -> None:
    weight = weights(3, 1, 3, 3)
    made = proto(weight, group=3)
    assert integers.round_first_(made, images(), layers=1, highest=HIGHEST) == {}
    assert integers.round_first_(proto(weights(4, 3, 3, 3)), images(), layers=0, highest=HIGHEST) == {}
    np.testing.assert_array_equal(numpy_helper.to_array(made.graph.initializer[0]), weight)
