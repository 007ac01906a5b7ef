"""What docs/models.md says of families of networks: every step of compression, tried on one network of each."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.deploy.onnx import compare, export_float
from deepcompress.explain import attention
from deepcompress.measure import accuracy
from deepcompress.models import checkpoint
from deepcompress.models.spec import layer_name
from deepcompress.pruning.layers import zero_share
from deepcompress.quantization import ptq, qat, solvers
from deepcompress.quantization.quantize import assign, smallest_encodings
from tests.nets import CLASSES, SIDE, VIEW, batches, network
from tests.pruning.conftest import pruned

pytestmark = pytest.mark.slow
ARCHS = (
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "densenet121",
    "squeezenet1_0",
)


@pytest.fixture(scope="module", params=ARCHS)
def model(request: pytest.FixtureRequest):
    return network(request.param)


def test_pruning_of_weights(model) -> None:
    masked = pruned(model, "unstructured", 0.5, allocation="uniform").masked
    assert zero_share(masked) == pytest.approx(0.5, abs=1e-3)


@torch.no_grad()
def test_pruning_of_channels(model) -> None:
    made, images = pruned(model, "structured", 0.4, allocation="uniform"), torch.randn(2, 3, SIDE, SIDE)
    answers = made.masked(images)
    torch.testing.assert_close(made.trained(images), answers, rtol=1e-4, atol=1e-4 * float(answers.abs().max()))


def test_rounding_after_and_in_training(model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "LONGEST_ROW", 600)  # longer ones take seconds each
    rounded = copy.deepcopy(model)
    formats = assign(rounded, "int4", group_size=32)
    qat.attach_(rounded, formats, ptq.without_images(rounded, formats), steps="learned")
    batch = next(batches(batch_size=6).epoch(0))
    F.cross_entropy(rounded.train()(batch.images), batch.labels).backward()
    qat.detach_(rounded)
    quantized = ptq.from_images(rounded.eval(), formats, batches(), inputs=32, seed=0, rounding="auto")
    ptq.assign_(rounded, quantized)
    encodings = smallest_encodings(formats, quantized)
    path = tmp_path / "int4.safetensors"
    checkpoint.save(path, rounded, view=VIEW, classes=CLASSES, provenance={}, encodings=encodings)
    loaded = checkpoint.load(path).model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in rounded.state_dict().items())


def test_an_onnx_file(model, tmp_path: Path) -> None:
    export_float(model, tmp_path / "m.onnx", view=VIEW, classes=CLASSES)
    data = batches()
    classifier = OnnxClassifier(tmp_path / "m.onnx")
    assert compare(classifier, accuracy.logits(model, data)[0], data.arrays).agreement_pct == 100


def test_maps_of_attention_at_a_block(model) -> None:
    assert attention.maps(model, batches(), "block4").shape == (6, SIDE, SIDE)
    assert layer_name(model.spec, "features")
