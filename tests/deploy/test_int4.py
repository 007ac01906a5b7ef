"""Files of 4-bit integers: those of the checkpoint, half a byte each, with the answers of the model that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
import torch

from deepcompress.data.batches import Batches, View
from deepcompress.deploy import graph, int4
from deepcompress.deploy.parity import parity
from deepcompress.deploy.session import Classifier
from deepcompress.errors import UserError
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from deepcompress.models.quantized_weight import QuantizedWeight
from deepcompress.models.vgg import prunable_layers
from deepcompress.quantization import ptq
from deepcompress.quantization.quantize import assign, smallest_encodings
from tests import nets
from tests.data.inputs import CLASSES
from tests.deploy.conftest import VIEW, Exported, network


@dataclass(frozen=True)
class Made:
    """A model in few bits, its checkpoint and its files."""

    loaded: checkpoint.Checkpoint
    checkpoint: Path
    float_file: Path
    file: Path

    @property
    def weights(self) -> dict[str, QuantizedWeight]:
        return int4.stored(self.checkpoint, self.loaded)


def make(
    folder: Path, model: torch.nn.Module, view: View, classes: tuple[str, ...], name: str, size: int | None
) -> Made:
    formats = assign(model, name, group_size=size)
    encodings = smallest_encodings(formats, ptq.quantize_weights_(model, formats))
    path, float_file, file = (folder / name for name in ("model.safetensors", "float.onnx", "int4.onnx"))
    checkpoint.save(path, model, view=view, classes=classes, provenance={}, encodings=encodings)
    loaded = checkpoint.load(path)
    graph.export_float(loaded.model, float_file, view=view, classes=classes)
    made = Made(loaded, path, float_file, file)
    int4.quantize_int4(float_file, file, made.weights)
    return made


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A scale per 16 inputs; the first convolution's rows of 27 are cut into 14 and 13."""
    return make(tmp_path_factory.mktemp("int4"), network(), VIEW, CLASSES, "int4", 16)


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_every_weight_takes_half_a_byte_and_is_the_checkpoint_s(grouped: Made) -> None:
    tensors = {tensor.name: tensor for tensor in onnx.load(grouped.file).graph.initializer}
    layers = prunable_layers(grouped.loaded.model)
    assert list(grouped.weights) == sorted(f"{name}.weight" for name in layers)
    for name, layer in layers.items():
        codes = tensors[f"model.{name}.weight_codes"]
        assert len(codes.raw_data) == pytest.approx(layer.weight.numel() / 2, rel=0.05)  # a short last group is filled
        assert f"model.{name}.weight" not in tensors
        found = grouped.weights[f"{name}.weight"]
        assert torch.equal(found.dequantize(), layer.weight)
        assert -8 <= found.codes.min() < 0 < found.codes.max() <= 7
    assert operators(grouped.file).count("MatMulNBits") == 3
    assert not {"Gemm", "MatMul", "DequantizeLinear"} & set(operators(grouped.file))


def test_the_answers_are_those_of_the_model_but_for_the_activations_of_linear_layers(
    grouped: Made, exported: Exported
) -> None:
    logits = accuracy.logits(grouped.loaded.model, Batches(exported.images, VIEW, batch_size=16))[0]
    found = parity(grouped.file, logits, exported.images)
    assert found.agreement_pct >= 95
    assert 0 < found.largest_difference < 0.1 * float(logits.std())
    assert Classifier(grouped.file).contract == Classifier(grouped.float_file).contract


@pytest.mark.parametrize(("name", "size"), [("int4", 12), ("int4", None), ("int3", 16), ("int2", None)])
def test_groups_that_products_cannot_hold_and_fewer_bits_answer_as_well(
    name: str, size: int | None, exported: Exported, tmp_path: Path
) -> None:
    made = make(tmp_path, network(2), VIEW, CLASSES, name, size)
    assert operators(made.file).count("MatMulNBits") == (0 if size == 12 else 3)
    logits = accuracy.logits(made.loaded.model, Batches(exported.images, VIEW, batch_size=16))[0]
    found = parity(made.file, logits, exported.images)
    assert found.largest_difference < (1e-4 if size == 12 else 0.1) * float(logits.std())


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
def test_other_networks_answer_as_well(arch: str, tmp_path: Path) -> None:
    data = nets.batches(images=16, batch_size=8)
    made = make(tmp_path, nets.network(arch), nets.VIEW, nets.CLASSES, "int4", 32)
    logits = accuracy.logits(made.loaded.model, data)[0]
    found = parity(made.file, logits, data.arrays)
    assert found.largest_difference < 0.1 * float(logits.std())
    assert made.file.stat().st_size < 0.25 * made.float_file.stat().st_size


def test_wider_integers_are_not_stored_in_4_bits(tmp_path: Path) -> None:
    made = make(tmp_path, network(), VIEW, CLASSES, "int8", 16)
    assert made.weights == {}
    assert "Cast" not in operators(made.file)[1:]


def test_a_weight_that_is_no_multiple_of_the_stored_one_stays_in_float32(grouped: Made, tmp_path: Path) -> None:
    changed = dict(grouped.weights)
    first = changed["features.0.weight"]
    changed["features.0.weight"] = QuantizedWeight(first.codes.flip(0), first.scales, first.bits)
    int4.quantize_int4(grouped.float_file, tmp_path / "part.onnx", changed)
    names = {tensor.name for tensor in onnx.load(tmp_path / "part.onnx").graph.initializer}
    assert "model.features.0.weight" in names
    assert "model.features.4.weight" not in names


def test_the_same_call_gives_the_same_bytes(grouped: Made, tmp_path: Path) -> None:
    int4.quantize_int4(grouped.float_file, tmp_path / "again.onnx", grouped.weights)
    assert (tmp_path / "again.onnx").read_bytes() == grouped.file.read_bytes()


def test_a_file_of_another_program_is_refused(grouped: Made, tmp_path: Path) -> None:
    proto = onnx.load(grouped.float_file)
    del proto.metadata_props[:]
    onnx.save(proto, tmp_path / "other.onnx")
    with pytest.raises(UserError, match="no model that this pipeline exported"):
        int4.quantize_int4(tmp_path / "other.onnx", tmp_path / "int4.onnx", {})
